-- +goose Up

-- What admit decides on beyond session and limit: the ways in which a user proved
-- who they are, the device and the networks of the session, blocked addresses,
-- custom roles, temporary grants, and the conditions that take permissions over
-- patient data away. The bits of a set of methods are those of package method.

ALTER TABLE practices
    -- The business associate agreement in force (45 CFR 164.504(e)).
    ADD COLUMN baa_version text NOT NULL DEFAULT '',
    ADD COLUMN baa_from timestamptz,
    ADD COLUMN baa_until timestamptz,
    -- Whether a code by mail counts as a second factor (claim DH-23), and whether patient data takes a passkey.
    ADD COLUMN accept_email_code boolean NOT NULL DEFAULT false,
    ADD COLUMN require_passkey boolean NOT NULL DEFAULT false;

GRANT UPDATE (baa_version, baa_from, baa_until, accept_email_code, require_passkey) ON practices TO auth_app;

-- A practice's own roles. permissions is a set as libs/access encodes it, in bytes.
CREATE TABLE roles (
    id           uuid PRIMARY KEY,
    practice_id  uuid NOT NULL,
    display_name text NOT NULL,
    kind         smallint NOT NULL CHECK (kind BETWEEN 2 AND 4),
    template     text NOT NULL DEFAULT '',
    permissions  bytea NOT NULL CHECK (length(permissions) <= 32),
    version      bigint NOT NULL DEFAULT 1,
    created      timestamptz NOT NULL,
    updated      timestamptz NOT NULL,
    created_by   uuid NOT NULL,
    UNIQUE (practice_id, id),
    UNIQUE (practice_id, display_name),
    CHECK ((kind = 4) = (template <> ''))
);

ALTER TABLE users
    -- A custom role in place of what kind and template give.
    ADD COLUMN role_id uuid,
    -- Its user reported the account as compromised; nobody signs in until it is thawed.
    ADD COLUMN frozen timestamptz,
    -- Closed after too many failures (SP 800-63B-4 section 3.2.2), until recovery.
    ADD COLUMN closed timestamptz,
    ADD COLUMN trained_until timestamptz,
    -- NULL: not part of a review yet.
    ADD COLUMN certified_until timestamptz,
    ADD FOREIGN KEY (practice_id, role_id) REFERENCES roles (practice_id, id);

CREATE INDEX users_role ON users (role_id) WHERE role_id IS NOT NULL;
GRANT UPDATE (role_id, frozen, closed, trained_until, certified_until) ON users TO auth_app;

-- The second factors that a user has.
ALTER TABLE credentials ADD COLUMN factors integer NOT NULL DEFAULT 0;
UPDATE credentials SET factors = 2 WHERE totp_sealed <> '';
GRANT UPDATE (factors) ON credentials TO auth_app;

-- Temporary permissions, asked for by one person and decided by another.
CREATE TABLE grants (
    id           uuid PRIMARY KEY,
    practice_id  uuid NOT NULL,
    user_id      uuid NOT NULL,
    permission   integer NOT NULL CHECK (permission BETWEEN 1 AND 255),
    reason       text NOT NULL,
    hours        integer NOT NULL CHECK (hours BETWEEN 1 AND 8),
    requested    timestamptz NOT NULL,
    decided      timestamptz,
    decided_by   uuid CHECK (decided_by <> user_id),
    approved     boolean NOT NULL DEFAULT false,
    expires      timestamptz,
    ended        timestamptz,
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id),
    CHECK (NOT approved OR (decided_by IS NOT NULL AND expires IS NOT NULL))
);

CREATE INDEX grants_live ON grants (user_id) WHERE approved AND ended IS NULL;

CREATE TABLE devices (
    id          uuid PRIMARY KEY,
    practice_id uuid NOT NULL,
    user_id     uuid NOT NULL,
    label       text NOT NULL,
    -- A digest of what the client says of itself: family, platform, language.
    features    bytea NOT NULL,
    created     timestamptz NOT NULL,
    last_use    timestamptz NOT NULL,
    -- When its user last attested it (claim DTD-26).
    attested    timestamptz,
    forgotten   timestamptz,
    UNIQUE (practice_id, id),
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);

CREATE INDEX devices_user ON devices (user_id) WHERE forgotten IS NULL;

-- The networks from which a user has signed in: /24 of IPv4, /48 of IPv6.
CREATE TABLE networks (
    user_id     uuid NOT NULL,
    network     text NOT NULL,
    practice_id uuid NOT NULL,
    first_use   timestamptz NOT NULL,
    last_use    timestamptz NOT NULL,
    PRIMARY KEY (user_id, network),
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);

-- Networks that are refused for a while: an IPv4 address or an IPv6 /64.
CREATE TABLE blocks (
    network text PRIMARY KEY,
    until   timestamptz NOT NULL,
    reason  text NOT NULL,
    score   integer NOT NULL DEFAULT 0,
    strikes integer NOT NULL DEFAULT 1,
    created timestamptz NOT NULL
);

ALTER TABLE sessions
    ADD COLUMN methods integer NOT NULL DEFAULT 1,
    -- The last time that its user proved who they are with two factors.
    ADD COLUMN authenticated timestamptz,
    -- Where it was verified; empty: nowhere in particular, as for sessions of an older release.
    ADD COLUMN networks text[] NOT NULL DEFAULT '{}',
    ADD COLUMN device_id uuid,
    -- True where every request must carry the device's token.
    ADD COLUMN bound boolean NOT NULL DEFAULT false;

UPDATE sessions SET methods = 3, authenticated = created WHERE assurance = 2;
GRANT SELECT (methods, authenticated, networks, device_id, bound),
    UPDATE (methods, authenticated, networks, device_id) ON sessions TO auth_app;

-- +goose StatementBegin
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['roles', 'grants', 'devices', 'networks'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY practice ON %I TO auth_app USING (practice_id = current_setting(''carekeep.practice'')::uuid)', name);
        EXECUTE format('CREATE POLICY owner ON %I TO CURRENT_USER USING (true)', name);
    END LOOP;
END
$$;
-- +goose StatementEnd

GRANT SELECT, INSERT, UPDATE (display_name, permissions, version, updated), DELETE ON roles TO auth_app;
GRANT SELECT, INSERT, UPDATE (decided, decided_by, approved, expires, ended) ON grants TO auth_app;
GRANT SELECT, INSERT, UPDATE (label, features, last_use, attested, forgotten) ON devices TO auth_app;
GRANT SELECT, INSERT, UPDATE (last_use) ON networks TO auth_app;
GRANT SELECT, INSERT, UPDATE (until, reason, score, strikes, created), DELETE ON blocks TO auth_app;

-- admit decides over a batch of requests in one statement, as before. The old
-- form stays for replicas of the release before.
-- Gates are bits: 1 training, 2 attestation, 4 BAA, 8 factor, 16 network, 32 certification.
-- +goose StatementBegin
CREATE FUNCTION admit(
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
                   WHEN b.until IS NOT NULL THEN 'ADDRESS_BLOCKED'
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
           CASE WHEN j.blocked IS NOT NULL THEN j.blocked - clock WHEN j.refusal IS NULL AND NOT j.passes THEN j.oldest + p_window - clock END,
           j.session_id, j.user_id, j.practice_id, j.username, j.role, j.template, o.permissions, x.extra, j.assurance, j.authenticated,
           j.gates + CASE WHEN d.attested > clock - interval '30 days' THEN 0 ELSE 2 END, m.modules, m.doctors
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

-- What a sign-in name leads to, with what has come since. The old form stays for the release before.
CREATE FUNCTION account_of(p_username text, p_user uuid) RETURNS TABLE (
    user_id uuid, practice_id uuid, username text, password_hash text, totp_sealed text, totp_step bigint,
    user_disabled boolean, practice_disabled boolean, frozen boolean, closed boolean, factors integer, accept_email_code boolean
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT u.id, u.practice_id, u.username, c.password_hash, c.totp_sealed, c.totp_step, u.disabled, coalesce(p.disabled, false),
           u.frozen IS NOT NULL, u.closed IS NOT NULL, c.factors, coalesce(p.accept_email_code, false)
    FROM users u JOIN credentials c ON c.user_id = u.id LEFT JOIN practices p ON p.id = u.practice_id
    WHERE u.username = p_username OR u.id = p_user
$$;

REVOKE ALL ON FUNCTION admit(bytea[], boolean[], text[], text[], uuid[], timestamptz, interval, interval, integer), account_of FROM PUBLIC;
GRANT EXECUTE ON FUNCTION admit(bytea[], boolean[], text[], text[], uuid[], timestamptz, interval, interval, integer), account_of TO auth_app;
