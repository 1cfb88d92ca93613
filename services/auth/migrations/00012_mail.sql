-- +goose Up

-- When an administrator last changed the mail address of somebody who has a password: a reset
-- goes to no address that is newer than a day, so that its user, told at the old one, can object.
ALTER TABLE users ADD COLUMN email_changed timestamptz;
GRANT SELECT (email_changed), UPDATE (email_changed) ON users TO auth_app;

-- admit as before, but a block of an address does not shut out sessions that were verified in its
-- network, a practice's whole building behind one address; and an attestation of exactly 30 days counts.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION admit(
    p_tokens bytea[], p_background boolean[], p_networks text[], p_addresses text[], p_devices uuid[],
    p_now timestamptz, p_idle interval, p_window interval, p_limit integer
) RETURNS TABLE (
    place integer, refusal text, retry interval, session_id uuid, user_id uuid, practice_id uuid,
    username text, role smallint, template text, custom bytea, extra integer[], assurance smallint, authenticated timestamptz,
    gates integer, modules integer, doctors uuid[]
) LANGUAGE plpgsql SECURITY DEFINER
-- Every lookup is by a unique key, so one plan serves all; to plan each call anew would take longer than to run it.
-- Nor may a plan made while a table was small scan it when it has grown.
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    clock timestamptz;
BEGIN
    PERFORM 1 FROM activity a
    WHERE a.user_id IN (SELECT s.user_id FROM sessions s WHERE s.token_hash = ANY (p_tokens))
    ORDER BY a.user_id FOR UPDATE;
    clock := coalesce(p_now, clock_timestamp());

    RETURN QUERY
    WITH found AS (
        SELECT k.place::integer AS place, k.background, s.id AS session_id, s.user_id, s.practice_id, s.assurance, s.authenticated,
               s.device_id, u.username, u.role, u.template, u.role_id, a.hits, cardinality(a.hits) AS n, b.until AS blocked,
               CASE
                   WHEN b.until IS NOT NULL AND (s.id IS NULL OR k.network <> ALL (s.networks)) THEN 'ADDRESS_BLOCKED'
                   WHEN s.id IS NULL THEN 'SESSION_UNKNOWN'
                   WHEN s.ended IS NOT NULL THEN 'SESSION_ENDED'
                   WHEN s.expires <= clock THEN 'SESSION_EXPIRED'
                   WHEN s.last_use + p_idle <= clock THEN 'SESSION_IDLE'
                   WHEN u.disabled THEN 'USER_DISABLED'
                   WHEN u.frozen IS NOT NULL THEN 'ACCOUNT_FROZEN'
                   WHEN p.disabled THEN 'PRACTICE_DISABLED'
                   WHEN k.device <> s.device_id OR (s.bound AND k.device IS NULL) THEN 'DEVICE_MISMATCH'
               END AS refusal,
               CASE WHEN u.trained_until > clock THEN 0 ELSE 1 END
               + CASE WHEN p.baa_from <= clock AND p.baa_until > clock THEN 0 ELSE 4 END
               + CASE WHEN p.require_passkey AND s.methods & 16 = 0 THEN 8 ELSE 0 END
               + CASE WHEN cardinality(s.networks) = 0 OR k.network = ANY (s.networks) THEN 0 ELSE 16 END
               + CASE WHEN u.certified_until <= clock THEN 32 ELSE 0 END AS gates
        FROM unnest(p_tokens, p_background, p_networks, p_addresses, p_devices) WITH ORDINALITY
            AS k (token_hash, background, network, address, device, place)
        LEFT JOIN sessions s ON s.token_hash = k.token_hash
        LEFT JOIN users u ON u.id = s.user_id
        LEFT JOIN activity a ON a.user_id = s.user_id
        LEFT JOIN practices p ON p.id = s.practice_id
        LEFT JOIN blocks b ON b.network = k.address AND b.until > clock
    ), ranked AS (
        -- The request that is the user's k-th in this batch passes if no more than
        -- limit - k of the latest hits are inside the window, that is, if the hit
        -- at that distance from the end is outside or does not exist.
        SELECT f.*, f.hits[f.n - p_limit + (row_number() OVER (PARTITION BY f.user_id, f.refusal IS NULL ORDER BY f.place))::integer] AS oldest
        FROM found f
    ), judged AS MATERIALIZED (
        SELECT r.*, r.refusal IS NULL AND (r.oldest IS NULL OR r.oldest <= clock - p_window) AS passes FROM ranked r
    ), kept AS (
        UPDATE activity a
        SET hits = a.hits[greatest(1, cardinality(a.hits) - p_limit + c.added + 1):] || array_fill(clock, ARRAY[c.added])
        FROM (SELECT j.user_id, count(*)::integer AS added FROM judged j WHERE j.passes GROUP BY j.user_id) c WHERE a.user_id = c.user_id
    ), touched AS (
        UPDATE sessions s SET last_use = clock
        FROM judged j WHERE j.passes AND NOT j.background AND s.id = j.session_id
    )
    SELECT j.place, CASE WHEN j.refusal IS NULL AND NOT j.passes THEN 'REQUESTS_LIMITED' ELSE j.refusal END,
           CASE WHEN j.refusal = 'ADDRESS_BLOCKED' THEN j.blocked - clock WHEN j.refusal IS NULL AND NOT j.passes THEN j.oldest + p_window - clock END,
           j.session_id, j.user_id, j.practice_id, j.username, j.role, j.template, o.permissions, x.extra, j.assurance, j.authenticated,
           j.gates + CASE WHEN d.attested >= clock - interval '30 days' THEN 0 ELSE 2 END, m.modules, m.doctors
    FROM judged j
    LEFT JOIN devices d ON d.id = j.device_id AND d.forgotten IS NULL
    LEFT JOIN roles o ON o.id = j.role_id
    LEFT JOIN LATERAL (
        SELECT array_agg(g.permission) AS extra FROM grants g
        WHERE g.user_id = j.user_id AND g.approved AND g.ended IS NULL AND g.expires > clock
    ) x ON true
    LEFT JOIN LATERAL (
        -- A member who acts for several doctors holds what all of them grant: the
        -- caller token has one set of permissions for all their patients.
        SELECT bit_and(g.modules) AS modules, array_agg(g.doctor_id ORDER BY g.doctor_id) AS doctors
        FROM assignments g JOIN users d ON d.id = g.doctor_id AND NOT d.disabled
        WHERE g.staff_id = j.user_id
    ) m ON j.role = 4;
END
$$;
-- +goose StatementEnd
