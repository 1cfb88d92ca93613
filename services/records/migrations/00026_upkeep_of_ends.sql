-- What ends by itself: request ids after a week, records whose retention is over where the practice says so, and all
-- writing of a practice that leaves.

-- +goose Up

-- Request ids are kept for a week. Who made a record by one is kept for good: an account that owns something is not
-- purged (claim DH-50).
CREATE TABLE makers (
    practice_id uuid NOT NULL,
    user_id     uuid NOT NULL,
    PRIMARY KEY (practice_id, user_id)
);
CREATE INDEX requests_by_age ON requests (practice_id, created_at);
GRANT SELECT, INSERT ON makers TO records_app;
GRANT DELETE ON requests TO records_app;

-- Whether patients whose retention has ended are purged without being asked for. No row: they are counted.
ALTER TABLE retention ADD COLUMN automatic_purge boolean NOT NULL DEFAULT false;
GRANT UPDATE (automatic_purge) ON retention TO records_app;

-- When a practice's due patients were last counted, so that one replica does it, and does it once.
CREATE TABLE purge_runs (
    practice_id uuid        NOT NULL PRIMARY KEY,
    ran_at      timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE (ran_at) ON purge_runs TO records_app;

-- +goose StatementBegin
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['makers', 'purge_runs'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY practice ON %I USING (practice_id = current_setting(''carekeep.practice'')::uuid)', name);
    END LOOP;
END $$;
-- +goose StatementEnd

-- Every table of a practice that the service may write refuses from the decision on, but that of the exit itself,
-- which goes on to its end. A test asks the catalogue for tables that later migrations add.
-- +goose StatementBegin
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT c.relname FROM pg_class c
        JOIN pg_attribute p ON p.attrelid = c.oid AND p.attname = 'practice_id' AND NOT p.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'practice_exits'
          AND (has_any_column_privilege('records_app', c.oid, 'INSERT') OR has_any_column_privilege('records_app', c.oid, 'UPDATE'))
          AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = 'refuse_leaving')
    LOOP
        EXECUTE format('CREATE TRIGGER refuse_leaving BEFORE INSERT OR UPDATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_leaving()', name);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.tgname = 'refuse_leaving'
        AND c.relname NOT IN ('documents', 'rights_rows', 'legal_holds', 'glass_openings', 'referrals', 'care_team')
    LOOP
        EXECUTE format('DROP TRIGGER refuse_leaving ON %I', name);
    END LOOP;
END $$;
-- +goose StatementEnd
REVOKE DELETE ON requests FROM records_app;
REVOKE UPDATE (automatic_purge) ON retention FROM records_app;
DROP INDEX requests_by_age;
DROP TABLE purge_runs, makers;
ALTER TABLE retention DROP COLUMN automatic_purge;
