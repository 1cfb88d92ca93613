-- The life of keys: versions of practices' keys, the jobs that rewrap and
-- re-encrypt, and the only ways to change what is sealed or wrapped. The service's
-- role still owns nothing and can neither rewrite history nor drop a key that is in use.

-- +goose Up

-- Which practices there are, for work that no RPC asks for. It says nothing else of
-- them. The nil practice, in which no other table shows a row, reads the list.
CREATE TABLE practices (
    practice_id uuid        NOT NULL PRIMARY KEY,
    created_at  timestamptz NOT NULL
);

-- Versions of a practice's key in Vault since the first rotation. What is wrapped
-- under older versions than the newest is rewrapped, and later they are trimmed.
CREATE TABLE practice_key_versions (
    practice_id  uuid        NOT NULL,
    version      integer     NOT NULL CHECK (version > 1),
    rotated_at   timestamptz NOT NULL,
    -- When nothing in this database was wrapped under an older version any more.
    rewrapped_at timestamptz,
    -- When all older versions were destroyed.
    trimmed_at   timestamptz,
    PRIMARY KEY (practice_id, version)
);

-- Work that takes longer than a request. What is left to do is read from the store
-- itself, so a job that was killed goes on without having noted where it was; only a scrub,
-- which changes nothing, keeps its place.
CREATE TABLE key_jobs (
    practice_id uuid             NOT NULL,
    job_id      uuid             NOT NULL,
    kind        text COLLATE "C" NOT NULL CHECK (kind IN ('REWRAP', 'RESEAL', 'SCRUB')),
    state       text COLLATE "C" NOT NULL CHECK (state IN ('RUNNING', 'DONE', 'BROKEN')),
    -- The data key that a RESEAL replaces.
    key_id      uuid,
    total       bigint           NOT NULL DEFAULT 0,
    done        bigint           NOT NULL DEFAULT 0,
    broken      bigint           NOT NULL DEFAULT 0,
    place       jsonb            NOT NULL DEFAULT '{}',
    created_at  timestamptz      NOT NULL,
    updated_at  timestamptz      NOT NULL,
    PRIMARY KEY (practice_id, job_id)
);
-- One job of a kind at a time in a practice; for each data key one.
CREATE UNIQUE INDEX key_jobs_running ON key_jobs (practice_id, kind, coalesce(key_id, '00000000-0000-0000-0000-000000000000'))
    WHERE state = 'RUNNING';

-- What a re-encryption looks for beside the indexes by patient: documents that were deleted.
CREATE INDEX documents_deleted ON documents (practice_id, patient_id) WHERE deleted;

-- The owner is under row-level security as well, so what is there is listed without it.
ALTER TABLE practice_keys NO FORCE ROW LEVEL SECURITY;
INSERT INTO practices (practice_id, created_at) SELECT practice_id, created_at FROM practice_keys;
ALTER TABLE practice_keys FORCE ROW LEVEL SECURITY;

-- +goose StatementBegin
CREATE FUNCTION list_practice() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    INSERT INTO practices (practice_id, created_at) VALUES (NEW.practice_id, NEW.created_at) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION list_practice() FROM PUBLIC;
CREATE TRIGGER list_practice AFTER INSERT ON practice_keys FOR EACH ROW EXECUTE FUNCTION list_practice();

-- +goose StatementBegin
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['practices', 'practice_key_versions', 'key_jobs'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY practice ON %I USING (practice_id = current_setting(''carekeep.practice'')::uuid)', name);
    END LOOP;
END $$;
-- +goose StatementEnd
CREATE POLICY schedule ON practices FOR SELECT
    USING (current_setting('carekeep.practice')::uuid = '00000000-0000-0000-0000-000000000000');
CREATE POLICY schedule ON key_jobs FOR SELECT
    USING (current_setting('carekeep.practice')::uuid = '00000000-0000-0000-0000-000000000000' AND state = 'RUNNING');

-- A new seal around the same version is no new version: keep_version lets the owner
-- through, as whom reseal runs, and nobody else.
DROP TRIGGER keep_version ON documents;
-- +goose StatementBegin
DO $$
BEGIN
    EXECUTE format('CREATE TRIGGER keep_version AFTER UPDATE ON documents FOR EACH ROW
        WHEN (NOT (current_user = %L AND NEW.version = OLD.version)) EXECUTE FUNCTION keep_version()', current_user);
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Puts documents, current and former, under another key of the same patient. Only the key
-- and the seal change, and only where version, digest and old key are those that
-- the caller opened. Returns how many.
CREATE FUNCTION reseal(practice uuid, old_key uuid, new_key uuid, types text[], ids uuid[], versions bigint[], digests bytea[], resealed bytea[])
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE current_rows bigint; former_rows bigint;
BEGIN
    -- Counted before anything is stored, as for every seal (SP 800-38D 8.3).
    UPDATE data_keys n SET seals = n.seals + cardinality(ids) FROM data_keys o
    WHERE n.practice_id = practice AND n.key_id = new_key AND o.practice_id = practice AND o.key_id = old_key
      AND n.patient_id = o.patient_id AND new_key <> old_key AND n.seals + cardinality(ids) <= 2147483648;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    UPDATE documents d SET key_id = new_key, sealed = t.sealed
    FROM unnest(types, ids, versions, digests, resealed) AS t(type, id, version, digest, sealed)
    WHERE d.practice_id = practice AND d.type = t.type AND d.id = t.id AND d.version = t.version
      AND d.key_id = old_key AND d.digest = t.digest AND (d.sealed = '') = (t.sealed = '');
    GET DIAGNOSTICS current_rows = ROW_COUNT;
    -- A statement of its own: it sees a document that became history while the one above waited for it.
    UPDATE document_history d SET key_id = new_key, sealed = t.sealed
    FROM unnest(types, ids, versions, digests, resealed) AS t(type, id, version, digest, sealed)
    WHERE d.practice_id = practice AND d.type = t.type AND d.id = t.id AND d.version = t.version
      AND d.key_id = old_key AND d.digest = t.digest AND (d.sealed = '') = (t.sealed = '');
    GET DIAGNOSTICS former_rows = ROW_COUNT;
    RETURN current_rows + former_rows;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Deletes a data key that nothing is sealed with any more: no row of any table that names
-- keys, whoever added the table. Every statement that seals updates the key's row, so one that
-- began before is waited for and seen, and one that comes later finds no key.
CREATE FUNCTION drop_data_key(practice uuid, old_key uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE name text; used boolean;
BEGIN
    PERFORM FROM data_keys WHERE practice_id = practice AND key_id = old_key FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    FOR name IN SELECT c.relname FROM pg_class c
        JOIN pg_attribute k ON k.attrelid = c.oid AND k.attname = 'key_id' AND k.atttypid = 'uuid'::regtype AND NOT k.attisdropped
        JOIN pg_attribute p ON p.attrelid = c.oid AND p.attname = 'practice_id' AND NOT p.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname NOT IN ('data_keys', 'key_jobs')
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE practice_id = $1 AND key_id = $2)', name) INTO used USING practice, old_key;
        IF used THEN
            RETURN false;
        END IF;
    END LOOP;
    DELETE FROM data_keys WHERE practice_id = practice AND key_id = old_key;
    RETURN true;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Makes a key the one for new documents of a patient, in place of the one that is.
CREATE FUNCTION replace_data_key(practice uuid, patient uuid, old_key uuid, new_key uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    UPDATE patients p SET key_id = new_key FROM data_keys k
    WHERE p.practice_id = practice AND p.patient_id = patient AND p.key_id = old_key
      AND k.practice_id = practice AND k.key_id = new_key AND k.patient_id = patient;
    RETURN FOUND;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Wrapped keys under older versions than the given one, from any table that has some:
-- of each the first behind the key, by key.
CREATE FUNCTION old_wraps(practice uuid, below integer, behind uuid, most integer) RETURNS TABLE (key_id uuid, wrapped text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public AS $$
DECLARE name text;
BEGIN
    FOR name IN SELECT c.relname FROM pg_class c
        JOIN pg_attribute w ON w.attrelid = c.oid AND w.attname = 'wrapped' AND w.atttypid = 'text'::regtype AND NOT w.attisdropped
        JOIN pg_attribute k ON k.attrelid = c.oid AND k.attname = 'key_id' AND NOT k.attisdropped
        JOIN pg_attribute p ON p.attrelid = c.oid AND p.attname = 'practice_id' AND NOT p.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1
    LOOP
        RETURN QUERY EXECUTE format('SELECT t.key_id, t.wrapped FROM %I t WHERE t.practice_id = $1 AND t.key_id > $3
            AND substring(t.wrapped FROM ''^vault:v([0-9]{1,9}):'')::integer < $2 ORDER BY t.key_id LIMIT $4', name)
            USING practice, below, behind, most;
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
-- Replaces wrapped keys by the same keys under a newer version. It touches nothing else
-- and never goes back a version.
CREATE FUNCTION rewrap(practice uuid, key_ids uuid[], old text[], new text[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE name text; total bigint := 0; n bigint;
BEGIN
    FOR name IN SELECT c.relname FROM pg_class c
        JOIN pg_attribute w ON w.attrelid = c.oid AND w.attname = 'wrapped' AND w.atttypid = 'text'::regtype AND NOT w.attisdropped
        JOIN pg_attribute k ON k.attrelid = c.oid AND k.attname = 'key_id' AND NOT k.attisdropped
        JOIN pg_attribute p ON p.attrelid = c.oid AND p.attname = 'practice_id' AND NOT p.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1
    LOOP
        EXECUTE format('UPDATE %I t SET wrapped = w.new FROM unnest($2, $3, $4) AS w(key_id, old, new)
            WHERE t.practice_id = $1 AND t.key_id = w.key_id AND t.wrapped = w.old
              AND substring(w.new FROM ''^vault:v([0-9]{1,9}):.+$'')::integer > substring(w.old FROM ''^vault:v([0-9]{1,9}):'')::integer', name)
            USING practice, key_ids, old, new;
        GET DIAGNOSTICS n = ROW_COUNT;
        total := total + n;
    END LOOP;
    RETURN total;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION reseal(uuid, uuid, uuid, text[], uuid[], bigint[], bytea[], bytea[]), drop_data_key(uuid, uuid),
    replace_data_key(uuid, uuid, uuid, uuid), old_wraps(uuid, integer, uuid, integer), rewrap(uuid, uuid[], text[], text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION reseal(uuid, uuid, uuid, text[], uuid[], bigint[], bytea[], bytea[]), drop_data_key(uuid, uuid),
    replace_data_key(uuid, uuid, uuid, uuid), old_wraps(uuid, integer, uuid, integer), rewrap(uuid, uuid[], text[], text[]) TO records_app;

GRANT SELECT ON practices TO records_app;
GRANT SELECT, INSERT, UPDATE (rewrapped_at, trimmed_at) ON practice_key_versions TO records_app;
GRANT SELECT, INSERT, UPDATE (state, total, done, broken, place, updated_at) ON key_jobs TO records_app;

-- +goose Down
DROP FUNCTION reseal(uuid, uuid, uuid, text[], uuid[], bigint[], bytea[], bytea[]), drop_data_key(uuid, uuid),
    replace_data_key(uuid, uuid, uuid, uuid), old_wraps(uuid, integer, uuid, integer), rewrap(uuid, uuid[], text[], text[]);
DROP TRIGGER list_practice ON practice_keys;
DROP FUNCTION list_practice();
DROP TABLE key_jobs, practice_key_versions, practices;
DROP INDEX documents_deleted;
DROP TRIGGER keep_version ON documents;
CREATE TRIGGER keep_version AFTER UPDATE ON documents FOR EACH ROW EXECUTE FUNCTION keep_version();
