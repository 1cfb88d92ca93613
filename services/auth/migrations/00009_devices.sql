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
