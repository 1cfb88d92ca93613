-- Patients who are watched more closely, and what is to be told auth about who touched a decoy.

-- +goose Up

-- One row for a practice that ever marked somebody: all marks in one sealed list of padded size
-- under the key of the practice's directory. No other table says who is marked.
CREATE TABLE watch_lists (
    practice_id uuid   NOT NULL PRIMARY KEY,
    generation  bigint NOT NULL CHECK (generation > 0),
    key_id      uuid   NOT NULL,
    sealed      bytea  NOT NULL
);

-- Accounts to freeze, until auth has done it. Rows name no patient.
CREATE TABLE freezes (
    practice_id uuid        NOT NULL,
    freeze_id   uuid        NOT NULL,
    user_id     uuid        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT statement_timestamp(),
    done_at     timestamptz,
    PRIMARY KEY (practice_id, freeze_id)
);
CREATE INDEX freezes_due ON freezes (created_at) WHERE done_at IS NULL;

-- +goose StatementBegin
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['watch_lists', 'freezes'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY practice ON %I TO records_app USING (practice_id = current_setting(''carekeep.practice'')::uuid)', name);
    END LOOP;
END $$;
-- +goose StatementEnd
CREATE POLICY owner ON watch_lists TO CURRENT_ROLE USING (practice_id = current_setting('carekeep.practice')::uuid);
-- The function below runs as the owner: the job works for all practices.
CREATE POLICY owner ON freezes TO CURRENT_ROLE USING (true);

-- +goose StatementBegin
CREATE FUNCTION due_freezes(most integer) RETURNS TABLE (practice uuid, person uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT practice_id, user_id FROM freezes WHERE done_at IS NULL
    GROUP BY practice_id, user_id ORDER BY min(created_at) LIMIT most
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION due_freezes(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION due_freezes(integer) TO records_app;
GRANT SELECT, INSERT, UPDATE (generation, key_id, sealed) ON watch_lists TO records_app;
GRANT SELECT, INSERT, UPDATE (done_at) ON freezes TO records_app;

-- +goose Down
DROP FUNCTION due_freezes(integer);
DROP TABLE freezes, watch_lists;
