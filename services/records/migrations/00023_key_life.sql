-- The life of keys goes on: a re-encryption takes along all that is sealed under a
-- patient's key, an erasure makes copies of the key worthless by a day, and a job that
-- fails waits before it is tried again.

-- +goose Up

-- +goose StatementBegin
-- Puts what is sealed and is no document (matters of legal holds, rights rows, reasons
-- of openings and referrals) under another key of the same patient, each where it has the old key and is
-- still what the caller opened. Returns how many.
CREATE FUNCTION reseal_rest(practice uuid, old_key uuid, new_key uuid, types text[], ids uuid[], versions bigint[], was bytea[], resealed bytea[])
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE n bigint; total bigint := 0;
BEGIN
    -- Counted before anything is stored, as for every seal (SP 800-38D 8.3).
    UPDATE data_keys n SET seals = n.seals + cardinality(ids) FROM data_keys o
    WHERE n.practice_id = practice AND n.key_id = new_key AND o.practice_id = practice AND o.key_id = old_key
      AND n.patient_id = o.patient_id AND new_key <> old_key AND n.seals + cardinality(ids) <= 2147483648;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    UPDATE legal_holds h SET key_id = new_key, sealed = t.sealed
    FROM unnest(types, ids, was, resealed) AS t(type, id, was, sealed)
    WHERE t.type = 'LegalHold' AND h.practice_id = practice AND h.hold_id = t.id AND h.key_id = old_key AND h.sealed = t.was;
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;
    UPDATE glass_openings g SET key_id = new_key, reason = t.sealed
    FROM unnest(types, ids, was, resealed) AS t(type, id, was, sealed)
    WHERE t.type = 'GlassOpening' AND g.practice_id = practice AND g.opening_id = t.id AND g.key_id = old_key AND g.reason = t.was;
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;
    UPDATE referrals f SET key_id = new_key, reason = t.sealed
    FROM unnest(types, ids, was, resealed) AS t(type, id, was, sealed)
    WHERE t.type = 'Referral' AND f.practice_id = practice AND f.referral_id = t.id AND f.key_id = old_key AND f.reason = t.was;
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;
    UPDATE watch_lists w SET key_id = new_key, sealed = t.sealed
    FROM unnest(types, ids, versions, was, resealed) AS t(type, id, version, was, sealed)
    WHERE t.type = 'WatchList' AND w.practice_id = practice AND w.practice_id = t.id AND w.generation = t.version AND w.key_id = old_key AND w.sealed = t.was;
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;
    UPDATE rights_rows r SET key_id = new_key, sealed = t.sealed
    FROM unnest(types, ids, versions, was, resealed) AS t(type, id, version, was, sealed)
    WHERE r.practice_id = practice AND r.type = t.type AND r.id = t.id AND r.version = t.version AND r.key_id = old_key AND r.sealed = t.was;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN total + n;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION reseal_rest(uuid, uuid, uuid, text[], uuid[], bigint[], bytea[], bytea[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION reseal_rest(uuid, uuid, uuid, text[], uuid[], bigint[], bytea[], bytea[]) TO records_app;
DROP FUNCTION reseal_hold(uuid, uuid, uuid, uuid, bytea);
CREATE INDEX glass_openings_by_patient ON glass_openings (practice_id, patient_id);
CREATE INDEX referrals_by_patient ON referrals (practice_id, patient_id);
CREATE INDEX legal_holds_by_patient ON legal_holds (practice_id, patient_id);

-- +goose StatementBegin
-- Deletes a data key that nothing of its patient is sealed with any more: no row of any table
-- that names keys, whoever added the table. Every statement that seals updates the key's row,
-- so one that began before is waited for and seen, and one that comes later finds no key. A row that
-- names the key under another patient does not open with it: patient and key are in its seal.
CREATE OR REPLACE FUNCTION drop_data_key(practice uuid, old_key uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE name text; by_patient boolean; used boolean; patient uuid;
BEGIN
    SELECT patient_id INTO patient FROM data_keys WHERE practice_id = practice AND key_id = old_key FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    FOR name, by_patient IN SELECT c.relname, o.attname IS NOT NULL FROM pg_class c
        JOIN pg_attribute k ON k.attrelid = c.oid AND k.attname = 'key_id' AND k.atttypid = 'uuid'::regtype AND NOT k.attisdropped
        JOIN pg_attribute p ON p.attrelid = c.oid AND p.attname = 'practice_id' AND NOT p.attisdropped
        LEFT JOIN pg_attribute o ON o.attrelid = c.oid AND o.attname = 'patient_id' AND NOT o.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname NOT IN ('data_keys', 'key_jobs')
    LOOP
        IF by_patient THEN
            EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE practice_id = $1 AND patient_id = $3 AND key_id = $2)', name)
                INTO used USING practice, old_key, patient;
        ELSE
            EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE practice_id = $1 AND key_id = $2)', name) INTO used USING practice, old_key;
        END IF;
        IF used THEN
            RETURN false;
        END IF;
    END LOOP;
    DELETE FROM data_keys WHERE practice_id = practice AND key_id = old_key;
    RETURN true;
END $$;
-- +goose StatementEnd

-- A job that fails waits, longer each time, so that it takes no turn from others.
ALTER TABLE key_jobs
    ADD COLUMN failures  integer     NOT NULL DEFAULT 0,
    ADD COLUMN not_before timestamptz NOT NULL DEFAULT '-infinity';
GRANT UPDATE (failures, not_before) ON key_jobs TO records_app;
CREATE INDEX key_jobs_turn ON key_jobs (not_before, updated_at) WHERE state = 'RUNNING';
CREATE INDEX key_jobs_by_key ON key_jobs (practice_id, key_id) WHERE key_id IS NOT NULL;

-- The first version of the practice's key under which no copy of the patient's data key was ever
-- wrapped: once all before it are destroyed, no copy opens, wherever it lies. Null until
-- somebody looked, 0 while somebody does.
ALTER TABLE erasures ADD COLUMN key_version integer;
GRANT UPDATE (key_version) ON erasures TO records_app;
CREATE INDEX erasures_by_key_version ON erasures (practice_id, key_version) WHERE state = 3;

-- +goose Down
DROP INDEX erasures_by_key_version;
ALTER TABLE erasures DROP COLUMN key_version;
DROP INDEX key_jobs_turn, key_jobs_by_key;
ALTER TABLE key_jobs DROP COLUMN failures, DROP COLUMN not_before;
DROP INDEX referrals_by_patient, glass_openings_by_patient, legal_holds_by_patient;
DROP FUNCTION reseal_rest(uuid, uuid, uuid, text[], uuid[], bigint[], bytea[], bytea[]);
-- +goose StatementBegin
CREATE FUNCTION reseal_hold(practice uuid, hold uuid, old_key uuid, new_key uuid, resealed bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    UPDATE data_keys n SET seals = n.seals + 1 FROM data_keys o
    WHERE n.practice_id = practice AND n.key_id = new_key AND o.practice_id = practice AND o.key_id = old_key
      AND n.patient_id = o.patient_id AND new_key <> old_key AND n.seals < 2147483648;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE legal_holds SET key_id = new_key, sealed = resealed WHERE practice_id = practice AND hold_id = hold AND key_id = old_key;
    RETURN FOUND;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION reseal_hold(uuid, uuid, uuid, uuid, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION reseal_hold(uuid, uuid, uuid, uuid, bytea) TO records_app;
