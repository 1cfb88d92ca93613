-- +goose Up

-- Functions that must look across practices, because the practice follows from
-- what they look up. They run as the owner; each answers only for a secret that
-- the caller presents (session or invitation token) or for one sign-in name.
-- p_now is given by tests; otherwise the database's clock counts, which is one
-- clock for all replicas.

-- admit decides over a batch of requests in one statement. Locks are taken on
-- activity rows in the order of user ids, before anything is read: two batches
-- cannot deadlock, and a session that was ended before this call was made is seen as ended.
-- +goose StatementBegin
CREATE FUNCTION admit(
    p_tokens bytea[], p_background boolean[], p_now timestamptz, p_idle interval, p_window interval, p_limit integer
) RETURNS TABLE (
    place integer, refusal text, retry interval, session_id uuid, user_id uuid, practice_id uuid,
    username text, role smallint, template text, assurance smallint, modules integer, doctors uuid[]
) LANGUAGE plpgsql SECURITY DEFINER
-- Every lookup is by a unique key, so one plan serves all; to plan each call anew would take longer than to run it.
SET plan_cache_mode = force_generic_plan SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    clock timestamptz;
BEGIN
    PERFORM 1 FROM activity a
    WHERE a.user_id IN (SELECT s.user_id FROM sessions s WHERE s.token_hash = ANY (p_tokens))
    ORDER BY a.user_id FOR UPDATE;
    clock := coalesce(p_now, clock_timestamp());

    RETURN QUERY
    WITH asked AS (
        SELECT t.token_hash, t.background, t.place::integer
        FROM unnest(p_tokens, p_background) WITH ORDINALITY AS t (token_hash, background, place)
    ), found AS (
        SELECT k.place, k.background, s.id AS session_id, s.user_id, s.practice_id, s.assurance,
               u.username, u.role, u.template, a.hits, cardinality(a.hits) AS n,
               CASE
                   WHEN s.id IS NULL THEN 'SESSION_UNKNOWN'
                   WHEN s.ended IS NOT NULL THEN 'SESSION_ENDED'
                   WHEN s.expires <= clock THEN 'SESSION_EXPIRED'
                   WHEN s.last_use + p_idle <= clock THEN 'SESSION_IDLE'
                   WHEN u.disabled THEN 'USER_DISABLED'
                   WHEN p.disabled THEN 'PRACTICE_DISABLED'
               END AS refusal
        FROM asked k
        LEFT JOIN sessions s ON s.token_hash = k.token_hash
        LEFT JOIN users u ON u.id = s.user_id
        LEFT JOIN activity a ON a.user_id = s.user_id
        LEFT JOIN practices p ON p.id = s.practice_id
    ), ranked AS (
        -- The request that is the user's k-th in this batch passes if no more than
        -- limit - k of the latest hits are inside the window, that is, if the hit
        -- at that distance from the end is outside or does not exist.
        SELECT f.place, f.user_id, f.session_id, f.background,
               f.hits[f.n - p_limit + (row_number() OVER (PARTITION BY f.user_id ORDER BY f.place))::integer] AS oldest
        FROM found f WHERE f.refusal IS NULL
    ), passed AS (
        SELECT r.* FROM ranked r WHERE r.oldest IS NULL OR r.oldest <= clock - p_window
    ), counted AS (
        SELECT q.user_id, count(*)::integer AS added FROM passed q GROUP BY q.user_id
    ), kept AS (
        UPDATE activity a
        SET hits = a.hits[greatest(1, cardinality(a.hits) - p_limit + c.added + 1):] || array_fill(clock, ARRAY[c.added])
        FROM counted c WHERE a.user_id = c.user_id
    ), touched AS (
        UPDATE sessions s SET last_use = clock
        FROM passed q WHERE s.id = q.session_id AND NOT q.background
    )
    SELECT f.place, CASE WHEN f.refusal IS NULL AND q.place IS NULL THEN 'REQUESTS_LIMITED' ELSE f.refusal END,
           CASE WHEN q.place IS NULL THEN r.oldest + p_window - clock END,
           f.session_id, f.user_id, f.practice_id, f.username, f.role, f.template, f.assurance, m.modules, m.doctors
    FROM found f
    LEFT JOIN ranked r ON r.place = f.place
    LEFT JOIN passed q ON q.place = f.place
    LEFT JOIN LATERAL (
        -- A member who acts for several doctors holds what all of them grant: the
        -- caller token has one set of permissions for all their patients.
        SELECT bit_and(g.modules) AS modules, array_agg(g.doctor_id ORDER BY g.doctor_id) AS doctors
        FROM assignments g JOIN users d ON d.id = g.doctor_id AND NOT d.disabled
        WHERE g.staff_id = f.user_id
    ) m ON f.role = 4;
END
$$;
-- +goose StatementEnd

-- attempt counts one attempt against every key, or none of them where one is
-- full, and then says how long to wait. Keys are locked in order.
-- +goose StatementBegin
CREATE FUNCTION attempt(p_keys bytea[], p_limit integer, p_window interval, p_now timestamptz)
RETURNS interval LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    clock timestamptz;
    wait interval;
BEGIN
    -- DO UPDATE takes the row's lock, so that purge cannot slip in between.
    INSERT INTO attempts (key, last)
    SELECT DISTINCT k, coalesce(p_now, clock_timestamp()) FROM unnest(p_keys) AS k ORDER BY k
    ON CONFLICT (key) DO UPDATE SET last = excluded.last;
    clock := coalesce(p_now, clock_timestamp());
    SELECT max(a.hits[cardinality(a.hits) - p_limit + 1] + p_window - clock) INTO wait
    FROM attempts a
    WHERE a.key = ANY (p_keys) AND a.hits[cardinality(a.hits) - p_limit + 1] > clock - p_window;
    IF wait IS NULL THEN
        UPDATE attempts a
        SET hits = a.hits[greatest(1, cardinality(a.hits) - p_limit + 2):] || clock, last = clock
        WHERE a.key = ANY (p_keys);
    END IF;
    RETURN wait;
END
$$;
-- +goose StatementEnd

CREATE FUNCTION sign_in_of(p_username text) RETURNS TABLE (
    user_id uuid, practice_id uuid, username text, password_hash text, totp_sealed text, totp_step bigint,
    user_disabled boolean, practice_disabled boolean
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT u.id, u.practice_id, u.username, c.password_hash, c.totp_sealed, c.totp_step, u.disabled, coalesce(p.disabled, false)
    FROM users u JOIN credentials c ON c.user_id = u.id LEFT JOIN practices p ON p.id = u.practice_id
    WHERE u.username = p_username
$$;

CREATE FUNCTION invitation_of(p_token_hash bytea) RETURNS TABLE (
    id uuid, user_id uuid, practice_id uuid, username text, display_name text, email_sealed text,
    expires timestamptz, used boolean, disabled boolean
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT i.id, i.user_id, i.practice_id, u.username, u.display_name, u.email_sealed,
           i.expires, i.used IS NOT NULL, u.disabled OR coalesce(p.disabled, false)
    FROM invitations i JOIN users u ON u.id = i.user_id LEFT JOIN practices p ON p.id = u.practice_id
    WHERE i.token_hash = p_token_hash
$$;

-- purge forgets sessions and invitations 90 days after their end, and attempts after their window.
-- +goose StatementBegin
CREATE FUNCTION purge(p_now timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    clock timestamptz := coalesce(p_now, clock_timestamp());
    gone bigint;
    total bigint := 0;
BEGIN
    DELETE FROM sessions WHERE expires < clock - interval '90 days';
    GET DIAGNOSTICS gone = ROW_COUNT; total := total + gone;
    DELETE FROM invitations WHERE expires < clock - interval '90 days';
    GET DIAGNOSTICS gone = ROW_COUNT; total := total + gone;
    DELETE FROM attempts WHERE last < clock - interval '10 minutes';
    GET DIAGNOSTICS gone = ROW_COUNT; total := total + gone;
    RETURN total;
END
$$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION admit, attempt, sign_in_of, invitation_of, purge FROM PUBLIC;
GRANT EXECUTE ON FUNCTION admit, attempt, sign_in_of, invitation_of, purge TO auth_app;
