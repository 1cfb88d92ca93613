-- The patient store. Every table belongs to practices: the practice comes first
-- in each key, and row-level security shows a transaction the rows of the practice
-- it has set and no others, also to the owner. No column holds patient data in
-- the clear: what a row says in the clear is which ids exist, when, and how large.

-- +goose Up

-- The key of a practice's blind index and digests, wrapped by the practice's key in Vault.
CREATE TABLE practice_keys (
    practice_id uuid        NOT NULL PRIMARY KEY,
    key_id      uuid        NOT NULL,
    wrapped     text        NOT NULL,
    created_at  timestamptz NOT NULL
);

-- Data keys, wrapped likewise. patient_id is nil for the practice's directory
-- (Practitioner, Organization, …). Erasing a patient deletes the patient's rows here.
CREATE TABLE data_keys (
    practice_id uuid        NOT NULL,
    key_id      uuid        NOT NULL,
    patient_id  uuid        NOT NULL,
    wrapped     text        NOT NULL,
    -- Encryptions under this key. The random 96-bit nonces of AES-GCM allow 2^32
    -- (SP 800-38D 8.3); we stop at half.
    seals       bigint      NOT NULL DEFAULT 0 CHECK (seals BETWEEN 0 AND 2147483648),
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (practice_id, key_id)
);

-- A patient, and the key that new documents are sealed with. The nil patient is
-- the practice's directory. Documents have no foreign key to here: every statement that
-- writes one reads this row anyway.
CREATE TABLE patients (
    practice_id uuid        NOT NULL,
    patient_id  uuid        NOT NULL,
    key_id      uuid        NOT NULL,
    created_at  timestamptz NOT NULL,
    deleted_at  timestamptz,
    PRIMARY KEY (practice_id, patient_id)
);

-- Current versions. sealed is AES-256-GCM over the FHIR JSON as it came in, bound
-- to practice, patient, type, id, version and key; digest is an HMAC of the JSON under
-- the practice's index key. A deleted resource stays as a version without content.
CREATE TABLE documents (
    practice_id uuid             NOT NULL,
    type        text COLLATE "C" NOT NULL,
    id          uuid             NOT NULL,
    patient_id  uuid             NOT NULL,
    version     bigint           NOT NULL CHECK (version > 0),
    key_id      uuid             NOT NULL,
    created_at  timestamptz      NOT NULL,
    updated_at  timestamptz      NOT NULL,
    deleted     boolean          NOT NULL DEFAULT false,
    digest      bytea            NOT NULL,
    sealed      bytea            NOT NULL,
    PRIMARY KEY (practice_id, type, id)
);
-- Ciphertext does not compress, so Postgres must not try; and up to a page it
-- stays in the row, which saves a read of the TOAST table.
ALTER TABLE documents ALTER COLUMN sealed SET STORAGE EXTERNAL;
ALTER TABLE documents SET (toast_tuple_target = 8160);
CREATE INDEX documents_by_patient ON documents (practice_id, patient_id, type, created_at DESC, id DESC) WHERE NOT deleted;

-- Former versions. The service may only read them; the trigger below writes them.
CREATE TABLE document_history (
    practice_id uuid             NOT NULL,
    type        text COLLATE "C" NOT NULL,
    id          uuid             NOT NULL,
    patient_id  uuid             NOT NULL,
    version     bigint           NOT NULL,
    key_id      uuid             NOT NULL,
    created_at  timestamptz      NOT NULL,
    updated_at  timestamptz      NOT NULL,
    deleted     boolean          NOT NULL,
    digest      bytea            NOT NULL,
    sealed      bytea            NOT NULL,
    PRIMARY KEY (practice_id, type, id, version)
);
ALTER TABLE document_history ALTER COLUMN sealed SET STORAGE EXTERNAL;

-- +goose StatementBegin
-- Runs as the owner, so that the service needs no right to write history and
-- cannot change a document without leaving the version before.
CREATE FUNCTION keep_version() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
BEGIN
    IF NEW.version <> OLD.version + 1 THEN
        RAISE EXCEPTION 'a document changes from one version to the next' USING ERRCODE = 'check_violation';
    END IF;
    INSERT INTO document_history
        (practice_id, type, id, patient_id, version, key_id, created_at, updated_at, deleted, digest, sealed)
    VALUES (OLD.practice_id, OLD.type, OLD.id, OLD.patient_id, OLD.version, OLD.key_id,
        OLD.created_at, OLD.updated_at, OLD.deleted, OLD.digest, OLD.sealed);
    RETURN NULL;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION keep_version() FROM PUBLIC;
CREATE TRIGGER keep_version AFTER UPDATE ON documents FOR EACH ROW EXECUTE FUNCTION keep_version();

-- The blind index: HMACs of normalised values under the practice's index key.
CREATE TABLE patient_index (
    practice_id uuid  NOT NULL,
    token       bytea NOT NULL,
    patient_id  uuid  NOT NULL,
    PRIMARY KEY (practice_id, token, patient_id)
);
CREATE INDEX patient_index_by_patient ON patient_index (practice_id, patient_id);

-- The doctors who may see a patient.
CREATE TABLE care_team (
    practice_id uuid        NOT NULL,
    patient_id  uuid        NOT NULL,
    user_id     uuid        NOT NULL,
    added_at    timestamptz NOT NULL,
    PRIMARY KEY (practice_id, patient_id, user_id)
);
CREATE INDEX care_team_by_user ON care_team (practice_id, user_id, patient_id);

-- What creates with a request id made (AIP-155). digest tells another request under the same id.
CREATE TABLE requests (
    practice_id uuid             NOT NULL,
    user_id     uuid             NOT NULL,
    request_id  uuid             NOT NULL,
    type        text COLLATE "C" NOT NULL,
    id          uuid             NOT NULL,
    digest      bytea            NOT NULL,
    created_at  timestamptz      NOT NULL,
    PRIMARY KEY (practice_id, user_id, request_id)
);

-- +goose StatementBegin
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['practice_keys', 'data_keys', 'patients', 'documents', 'document_history',
                                'patient_index', 'care_team', 'requests'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        -- Without the setting this fails, loudly, instead of showing nothing.
        EXECUTE format('CREATE POLICY practice ON %I USING (practice_id = current_setting(''carekeep.practice'')::uuid)', name);
    END LOOP;
END $$;
-- +goose StatementEnd

GRANT SELECT, INSERT ON practice_keys, requests TO records_app;
GRANT SELECT, INSERT, UPDATE (seals) ON data_keys TO records_app;
GRANT SELECT, INSERT, UPDATE (deleted_at) ON patients TO records_app;
GRANT SELECT, INSERT, UPDATE (version, key_id, updated_at, deleted, digest, sealed) ON documents TO records_app;
GRANT SELECT ON document_history TO records_app;
GRANT SELECT, INSERT, DELETE ON patient_index, care_team TO records_app;

-- +goose Down
DROP TABLE requests, care_team, patient_index, document_history, documents, patients, data_keys, practice_keys;
DROP FUNCTION keep_version();
