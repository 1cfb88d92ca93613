-- A practice leaves: two persons, a signed export, and then nothing of it is left here
-- but the certificates.

-- +goose Up
CREATE TABLE practice_exits (
    practice_id     uuid        NOT NULL PRIMARY KEY,
    exit_id         uuid        NOT NULL,
    state           smallint    NOT NULL CHECK (state BETWEEN 1 AND 6),
    requested_by    uuid        NOT NULL,
    requested_at    timestamptz NOT NULL,
    approved_by     uuid CHECK (approved_by <> requested_by),
    approved_at     timestamptz,
    exported_at     timestamptz,
    manifest_digest text        NOT NULL DEFAULT '',
    certificate     text        NOT NULL DEFAULT '',
    CHECK (state IN (1, 6) OR approved_by IS NOT NULL),
    CHECK (state NOT IN (3, 4, 5) OR manifest_digest <> ''),
    CHECK ((state = 5) = (certificate <> ''))
);
ALTER TABLE practice_exits ENABLE ROW LEVEL SECURITY;
ALTER TABLE practice_exits FORCE ROW LEVEL SECURITY;
CREATE POLICY practice ON practice_exits TO records_app USING (practice_id = current_setting('carekeep.practice')::uuid);
-- The functions below run as the owner: which practices have left is to be known without naming one.
CREATE POLICY owner ON practice_exits FOR SELECT TO CURRENT_ROLE USING (true);

-- +goose StatementBegin
CREATE FUNCTION closed_practices() RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
    SELECT practice_id FROM practice_exits WHERE state IN (4, 5)
$$;
-- +goose StatementEnd

-- No key is made for a practice that has left, so nothing can be stored for it again.
-- +goose StatementBegin
CREATE FUNCTION refuse_closed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF EXISTS (SELECT FROM practice_exits WHERE practice_id = NEW.practice_id AND state IN (4, 5)) THEN
        RAISE EXCEPTION 'the practice has left' USING ERRCODE = 'CK004';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER refuse_closed BEFORE INSERT ON data_keys FOR EACH ROW EXECUTE FUNCTION refuse_closed();
CREATE TRIGGER refuse_closed BEFORE INSERT ON practice_keys FOR EACH ROW EXECUTE FUNCTION refuse_closed();

-- Tables of a practice whose rows go with it: all but the certificates. Keys come first, and writers wait for them.
-- +goose StatementBegin
CREATE FUNCTION practice_tables() RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT c.table_name FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
    WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.column_name = 'practice_id'
      AND c.table_name NOT IN ('erasures', 'practice_exits')
    ORDER BY c.table_name <> 'data_keys', c.table_name
$$;
-- +goose StatementEnd

-- Destroys all rows of a practice whose exit has come to that (state 4), and counts them.
-- +goose StatementBegin
CREATE FUNCTION destroy_practice(practice uuid) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    name   text;
    n      bigint;
    counts jsonb := '{}';
BEGIN
    IF NOT EXISTS (SELECT FROM practice_exits WHERE practice_id = practice AND state = 4) THEN
        RAISE EXCEPTION 'the practice is not leaving' USING ERRCODE = 'CK003';
    END IF;
    FOR name IN SELECT practice_tables() LOOP
        EXECUTE format('DELETE FROM %I WHERE practice_id = $1', name) USING practice;
        GET DIAGNOSTICS n = ROW_COUNT;
        IF n > 0 THEN
            counts := counts || jsonb_build_object(name, n);
        END IF;
    END LOOP;
    RETURN counts;
END $$;
-- +goose StatementEnd

-- The same counts beforehand, for the certificate.
-- +goose StatementBegin
CREATE FUNCTION count_practice(practice uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    name   text;
    n      bigint;
    counts jsonb := '{}';
BEGIN
    FOR name IN SELECT practice_tables() LOOP
        EXECUTE format('SELECT count(*) FROM %I WHERE practice_id = $1', name) INTO n USING practice;
        IF n > 0 THEN
            counts := counts || jsonb_build_object(name, n);
        END IF;
    END LOOP;
    RETURN counts;
END $$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION closed_practices(), refuse_closed(), practice_tables(), destroy_practice(uuid), count_practice(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION closed_practices(), destroy_practice(uuid), count_practice(uuid) TO records_app;
GRANT SELECT, INSERT, UPDATE (exit_id, state, requested_by, requested_at, approved_by, approved_at, exported_at, manifest_digest, certificate)
    ON practice_exits TO records_app;

-- +goose Down
DROP TRIGGER refuse_closed ON data_keys;
DROP TRIGGER refuse_closed ON practice_keys;
DROP FUNCTION closed_practices(), refuse_closed(), practice_tables(), destroy_practice(uuid), count_practice(uuid);
DROP TABLE practice_exits;
