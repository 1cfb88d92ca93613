-- +goose Up

-- What a sign-in finds out about device and network, and what its user is then told.

-- The neighbourhood (/16, /32) of the latest proof, to see two that are far from each other.
ALTER TABLE sessions ADD COLUMN wide text NOT NULL DEFAULT '';
GRANT SELECT (wide), UPDATE (wide) ON sessions TO auth_app;

-- Whether an account was ever used: its first device and network are no news.
GRANT SELECT (hits) ON activity TO auth_app;

-- Occasions on which a user is to be told something. They join the transaction of
-- what happened; a worker writes, seals and queues the mail afterwards, so that no
-- sign-in waits for it and none is lost.
CREATE TABLE occasions (
    id          uuid PRIMARY KEY,
    practice_id uuid NOT NULL,
    user_id     uuid NOT NULL,
    kind        text NOT NULL,
    address     text NOT NULL,
    user_agent  text NOT NULL,
    created     timestamptz NOT NULL,
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);

-- When two devices of one user were last reported as far apart and in use at once (claim DX-29).
CREATE TABLE sharings (
    user_id     uuid NOT NULL,
    low         uuid NOT NULL,
    high        uuid NOT NULL CHECK (low < high),
    practice_id uuid NOT NULL,
    last        timestamptz NOT NULL,
    PRIMARY KEY (user_id, low, high),
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);

-- +goose StatementBegin
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['occasions', 'sharings'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY practice ON %I TO auth_app USING (practice_id = current_setting(''carekeep.practice'')::uuid)', name);
        EXECUTE format('CREATE POLICY owner ON %I TO CURRENT_USER USING (true)', name);
    END LOOP;
END
$$;
-- +goose StatementEnd

GRANT SELECT, INSERT, DELETE ON occasions TO auth_app;
GRANT SELECT, INSERT, UPDATE (last) ON sharings TO auth_app;

-- The oldest occasions of all practices, for the worker. It names users by id only.
CREATE FUNCTION waiting_occasions(p_limit integer) RETURNS TABLE (
    id uuid, practice_id uuid, user_id uuid, kind text, address text, user_agent text, created timestamptz
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT o.id, o.practice_id, o.user_id, o.kind, o.address, o.user_agent, o.created
    FROM occasions o ORDER BY o.created, o.id LIMIT p_limit
$$;

REVOKE ALL ON FUNCTION waiting_occasions FROM PUBLIC;
GRANT EXECUTE ON FUNCTION waiting_occasions TO auth_app;

-- Accounts that nobody used for three months and that own nothing lose their personal
-- data (claim DH-50). The row stays, so that id and name are never given again.
ALTER TABLE users
    ADD COLUMN warned timestamptz,
    ADD COLUMN purged timestamptz;
GRANT UPDATE (warned, purged) ON users TO auth_app;
CREATE INDEX users_kept ON users (id) WHERE purged IS NULL;

-- When an account was last used or changed. NULL: there is none.
CREATE FUNCTION last_activity(p_user uuid) RETURNS timestamptz
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT greatest(u.updated, a.hits[cardinality(a.hits)], (SELECT max(s.created) FROM sessions s WHERE s.user_id = u.id))
    FROM users u JOIN activity a ON a.user_id = u.id WHERE u.id = p_user
$$;

-- Accounts after an id that are idle and own nothing here: idle for two weeks less than
-- three months, to be warned, or for three months and warned two weeks ago, to be purged.
-- Months are those of the calendar, in UTC.
CREATE FUNCTION idle_accounts(p_after uuid, p_limit integer, p_now timestamptz) RETURNS TABLE (
    user_id uuid, practice_id uuid, username text, seen timestamptz, due boolean
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT u.id, u.practice_id, u.username, l.seen, d.due
    FROM users u
    CROSS JOIN (SELECT coalesce(p_now, clock_timestamp()) AS now) c
    CROSS JOIN LATERAL (SELECT last_activity(u.id) AS seen) l
    CROSS JOIN LATERAL (SELECT (l.seen AT TIME ZONE 'UTC' + interval '3 months') AT TIME ZONE 'UTC' AS ends) e
    CROSS JOIN LATERAL (SELECT coalesce(e.ends <= c.now AND u.warned >= l.seen AND u.warned <= c.now - interval '14 days', false) AS due) d
    WHERE u.id > p_after AND u.purged IS NULL AND e.ends - interval '14 days' <= c.now
    AND (d.due OR u.warned IS NULL OR u.warned < l.seen)
    AND NOT EXISTS (SELECT FROM users o WHERE o.created_by = u.id AND o.id <> u.id)
    AND NOT EXISTS (SELECT FROM practices o WHERE o.created_by = u.id)
    AND NOT EXISTS (SELECT FROM roles o WHERE o.created_by = u.id)
    AND NOT EXISTS (SELECT FROM assignments o WHERE u.id IN (o.doctor_id, o.staff_id))
    AND NOT EXISTS (SELECT FROM grants o WHERE u.id IN (o.user_id, o.decided_by))
    ORDER BY u.id LIMIT p_limit
$$;

-- purge_account removes what says who an account belonged to, if it was not used since it was seen.
-- +goose StatementBegin
CREATE FUNCTION purge_account(p_user uuid, p_practice uuid, p_seen timestamptz, p_now timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF last_activity(p_user) <> p_seen THEN
        RETURN false;
    END IF;
    UPDATE users SET display_name = '', email_sealed = '', disabled = true, version = version + 1, purged = coalesce(p_now, clock_timestamp())
    WHERE id = p_user AND practice_id = p_practice AND purged IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE credentials SET password_hash = '', totp_sealed = '', pending_sealed = '', factors = 0 WHERE user_id = p_user;
    DELETE FROM sessions WHERE user_id = p_user;
    DELETE FROM invitations WHERE user_id = p_user;
    DELETE FROM occasions WHERE user_id = p_user;
    DELETE FROM sharings WHERE user_id = p_user;
    DELETE FROM networks WHERE user_id = p_user;
    DELETE FROM devices WHERE user_id = p_user;
    RETURN true;
END
$$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION last_activity, idle_accounts, purge_account FROM PUBLIC;
GRANT EXECUTE ON FUNCTION idle_accounts, purge_account TO auth_app;
