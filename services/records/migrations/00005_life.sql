-- The end of records: how long they are kept, what keeps them longer, and what
-- destroys them. The service's role cannot delete a document, a version or a key; it can
-- only ask erase_patient, which looks for itself whether that is allowed.

-- +goose Up

-- Longer than the seven calendar years of claim DH-46, never shorter. No row: seven.
CREATE TABLE retention (
    practice_id uuid        NOT NULL PRIMARY KEY,
    years       int         NOT NULL CHECK (years BETWEEN 7 AND 100),
    changed_by  uuid        NOT NULL,
    changed_at  timestamptz NOT NULL
);

-- The nil patient stands for the whole practice. The matter is sealed under the
-- patient's key, that of a practice under its directory's.
CREATE TABLE legal_holds (
    practice_id uuid        NOT NULL,
    hold_id     uuid        NOT NULL,
    patient_id  uuid        NOT NULL,
    reason      smallint    NOT NULL,
    key_id      uuid        NOT NULL,
    sealed      bytea       NOT NULL,
    placed_by   uuid        NOT NULL,
    placed_at   timestamptz NOT NULL,
    released_by uuid CHECK (released_by <> placed_by),
    released_at timestamptz,
    PRIMARY KEY (practice_id, hold_id),
    CHECK ((released_by IS NULL) = (released_at IS NULL))
);
CREATE INDEX legal_holds_standing ON legal_holds (practice_id, patient_id) WHERE released_at IS NULL;

-- Decisions. They outlive the patient: ids, an article of law, and the signed certificate.
CREATE TABLE erasures (
    practice_id  uuid        NOT NULL,
    erasure_id   uuid        NOT NULL,
    patient_id   uuid        NOT NULL,
    state        smallint    NOT NULL CHECK (state BETWEEN 1 AND 3),
    ground       smallint    NOT NULL,
    exemption    smallint    NOT NULL DEFAULT 0,
    requested_by uuid        NOT NULL,
    requested_at timestamptz NOT NULL,
    decided_by   uuid,
    decided_at   timestamptz,
    certificate  text        NOT NULL DEFAULT '',
    PRIMARY KEY (practice_id, erasure_id),
    -- Two persons, but for a purge (ground 7), which nobody asked for.
    CHECK (decided_by <> requested_by OR ground = 7),
    CHECK ((state = 1) = (decided_at IS NULL)),
    CHECK ((state = 2) = (exemption <> 0)),
    CHECK ((state = 3) = (certificate <> ''))
);
CREATE UNIQUE INDEX erasures_open ON erasures (practice_id, patient_id) WHERE state = 1;
CREATE INDEX erasures_by_patient ON erasures (practice_id, patient_id);

-- +goose StatementBegin
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['retention', 'legal_holds', 'erasures'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY practice ON %I USING (practice_id = current_setting(''carekeep.practice'')::uuid)', name);
    END LOOP;
END $$;
-- +goose StatementEnd

-- What an erasure looks for: it must not read whole tables.
CREATE INDEX document_history_by_patient ON document_history (practice_id, patient_id);
CREATE INDEX data_keys_by_patient ON data_keys (practice_id, patient_id);
CREATE INDEX requests_by_resource ON requests (practice_id, id);

-- The day on which records may go: the day after the anniversary of the last contact,
-- in UTC. The anniversary of 29 February is 28 February, so that day is then 1 March.
-- +goose StatementBegin
CREATE FUNCTION retention_end(contact timestamptz, years int) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog AS $$
    SELECT (date_trunc('day', contact AT TIME ZONE 'UTC') + make_interval(years => years) + interval '1 day') AT TIME ZONE 'UTC'
$$;
-- +goose StatementEnd

-- When something was last stored in a patient's chart. An imported document counts from
-- the import: that keeps it longer than need be, never shorter.
-- +goose StatementBegin
CREATE FUNCTION last_contact(practice uuid, patient uuid) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, public AS $$
    SELECT greatest(p.created_at, p.deleted_at,
        (SELECT max(d.updated_at) FROM documents d WHERE d.practice_id = practice AND d.patient_id = patient),
        (SELECT max(h.updated_at) FROM document_history h WHERE h.practice_id = practice AND h.patient_id = patient))
    FROM patients p WHERE p.practice_id = practice AND p.patient_id = patient
$$;
-- +goose StatementEnd

-- Tables whose rows about a patient stay: they say that and why the patient is gone.
-- +goose StatementBegin
CREATE FUNCTION patient_tables() RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT c.table_name FROM information_schema.columns c
    JOIN information_schema.tables t USING (table_schema, table_name)
    JOIN information_schema.columns p USING (table_schema, table_name)
    WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.column_name = 'patient_id' AND p.column_name = 'practice_id'
      AND c.table_name <> 'erasures'
    -- Writers of documents wait for the row of the key; those whose key is gone store nothing.
    ORDER BY c.table_name <> 'data_keys', c.table_name <> 'patients', c.table_name
$$;
-- +goose StatementEnd

-- What erase_patient would destroy: rows by table, and one digest over the digests of all versions.
-- +goose StatementBegin
CREATE FUNCTION count_patient(practice uuid, patient uuid) RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    name   text;
    n      bigint;
    counts jsonb := '{}';
    keys   jsonb;
    digest text;
BEGIN
    FOR name IN SELECT patient_tables() LOOP
        EXECUTE format('SELECT count(*) FROM %I WHERE practice_id = $1 AND patient_id = $2', name) INTO n USING practice, patient;
        IF n > 0 THEN
            counts := counts || jsonb_build_object(name, n);
        END IF;
    END LOOP;
    SELECT count(*) INTO n FROM requests r JOIN documents d ON d.practice_id = practice AND d.type = r.type AND d.id = r.id
    WHERE r.practice_id = practice AND d.patient_id = patient;
    IF n > 0 THEN
        counts := counts || jsonb_build_object('requests', n);
    END IF;
    SELECT coalesce(jsonb_agg(key_id ORDER BY key_id), '[]') INTO keys FROM data_keys WHERE practice_id = practice AND patient_id = patient;
    SELECT encode(sha256(coalesce(string_agg(v.digest, ''::bytea ORDER BY v.type, v.id, v.version), '')), 'hex') INTO digest FROM (
        SELECT d.digest, d.type, d.id, d.version FROM documents d WHERE d.practice_id = practice AND d.patient_id = patient
        UNION ALL
        SELECT h.digest, h.type, h.id, h.version FROM document_history h WHERE h.practice_id = practice AND h.patient_id = patient) v;
    RETURN jsonb_build_object('rows', counts, 'keys', keys, 'digest', digest);
END $$;
-- +goose StatementEnd

-- Destroys everything of a patient and returns what count_patient would have said before.
-- CK001: a legal hold stands. CK002: the retention runs. CK003: there is no such patient.
-- +goose StatementBegin
CREATE FUNCTION erase_patient(practice uuid, patient uuid) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
    name    text;
    ends    timestamptz;
    counted jsonb;
BEGIN
    -- A hold takes the same locks: it is there before, or it finds no patient.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('carekeep.hold.' || practice, 0));
    PERFORM pg_advisory_xact_lock(hashtextextended('carekeep.hold.' || practice || '.' || patient, 0));
    PERFORM FROM patients WHERE practice_id = practice AND patient_id = patient FOR UPDATE;
    IF NOT FOUND OR patient = '00000000-0000-0000-0000-000000000000' THEN
        RAISE EXCEPTION 'no such patient' USING ERRCODE = 'CK003';
    END IF;
    IF EXISTS (SELECT FROM legal_holds WHERE practice_id = practice AND released_at IS NULL
               AND patient_id IN (patient, '00000000-0000-0000-0000-000000000000')) THEN
        RAISE EXCEPTION 'a legal hold stands' USING ERRCODE = 'CK001';
    END IF;
    PERFORM FROM data_keys WHERE practice_id = practice AND patient_id = patient FOR UPDATE;
    ends := retention_end(last_contact(practice, patient), coalesce((SELECT years FROM retention WHERE practice_id = practice), 7));
    IF ends IS NULL OR ends > now() THEN
        RAISE EXCEPTION 'the retention runs' USING ERRCODE = 'CK002', DETAIL = to_char(ends AT TIME ZONE 'UTC', 'YYYY-MM-DD');
    END IF;
    counted := count_patient(practice, patient);
    DELETE FROM requests r USING documents d WHERE r.practice_id = practice AND d.practice_id = practice
        AND d.patient_id = patient AND d.type = r.type AND d.id = r.id;
    FOR name IN SELECT patient_tables() LOOP
        EXECUTE format('DELETE FROM %I WHERE practice_id = $1 AND patient_id = $2', name) USING practice, patient;
    END LOOP;
    RETURN counted;
END $$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION retention_end(timestamptz, int), last_contact(uuid, uuid), patient_tables(),
    count_patient(uuid, uuid), erase_patient(uuid, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION retention_end(timestamptz, int), last_contact(uuid, uuid),
    count_patient(uuid, uuid), erase_patient(uuid, uuid) TO records_app;
GRANT SELECT, INSERT, UPDATE (years, changed_by, changed_at) ON retention TO records_app;
GRANT SELECT, INSERT, UPDATE (released_by, released_at) ON legal_holds TO records_app;
GRANT SELECT, INSERT, UPDATE (state, exemption, decided_by, decided_at, certificate) ON erasures TO records_app;

-- +goose Down
DROP FUNCTION erase_patient(uuid, uuid), count_patient(uuid, uuid), patient_tables(), last_contact(uuid, uuid), retention_end(timestamptz, int);
DROP INDEX document_history_by_patient, data_keys_by_patient, requests_by_resource;
DROP TABLE erasures, legal_holds, retention;
