-- What patients may ask for, and what was told to whom: requests, disclosures and
-- consents. Their content is sealed under the patient's key like a document's.

-- +goose Up

-- Every version of a request, disclosure or consent. Rows are only ever added, so the
-- service can correct what it wrote, and cannot make it unwritten (45 CFR 164.528).
CREATE TABLE rights_rows (
    practice_id uuid             NOT NULL,
    type        text COLLATE "C" NOT NULL CHECK (type IN ('carekeep.RightsRequest', 'carekeep.Disclosure', 'carekeep.PatientConsent')),
    id          uuid             NOT NULL,
    patient_id  uuid             NOT NULL,
    version     bigint           NOT NULL CHECK (version > 0),
    key_id      uuid             NOT NULL,
    created_at  timestamptz      NOT NULL,
    updated_at  timestamptz      NOT NULL,
    -- The day on which the answer to an open request is due, with the zone that it is counted in, for the
    -- scheduled check. Null where no clock runs.
    due_on      date,
    due_zone    text             NOT NULL DEFAULT '',
    digest      bytea            NOT NULL,
    sealed      bytea            NOT NULL,
    PRIMARY KEY (practice_id, type, id, version)
);
CREATE INDEX rights_rows_by_patient ON rights_rows (practice_id, patient_id, type);
CREATE INDEX rights_rows_by_key ON rights_rows (practice_id, key_id);
CREATE INDEX rights_rows_due ON rights_rows (practice_id, due_on) WHERE due_on IS NOT NULL;

-- Which due days were announced: level 1 is nearly due, 2 overdue. One row, one event.
CREATE TABLE rights_notices (
    practice_id uuid        NOT NULL,
    id          uuid        NOT NULL,
    due_on      date        NOT NULL,
    level       smallint    NOT NULL CHECK (level IN (1, 2)),
    patient_id  uuid        NOT NULL,
    raised_at   timestamptz NOT NULL,
    PRIMARY KEY (practice_id, id, due_on, level)
);

-- One-time tokens of patients, who have no accounts. Only the SHA-256 is kept. Each
-- action is done once; an export that began is claimed for a while, and done when it is delivered.
CREATE TABLE patient_tokens (
    practice_id   uuid        NOT NULL,
    token_hash    bytea       NOT NULL CHECK (length(token_hash) = 32),
    patient_id    uuid        NOT NULL,
    request_id    uuid        NOT NULL,
    issued_by     uuid        NOT NULL,
    issued_at     timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL CHECK (expires_at <= issued_at + interval '7 days'),
    revoked_at    timestamptz,
    viewed_at     timestamptz,
    stated_at     timestamptz,
    claimed_until timestamptz,
    exported_at   timestamptz,
    PRIMARY KEY (practice_id, token_hash)
);
CREATE INDEX patient_tokens_by_request ON patient_tokens (practice_id, request_id, issued_at);

-- Wrong tokens by the network they came from. Whoever sends one belongs to no
-- practice, so the rows stand under the nil practice.
CREATE TABLE token_failures (
    practice_id uuid             NOT NULL CHECK (practice_id = '00000000-0000-0000-0000-000000000000'),
    network     text COLLATE "C" NOT NULL,
    hour        timestamptz      NOT NULL,
    failures    integer          NOT NULL,
    PRIMARY KEY (practice_id, network, hour)
);

-- +goose StatementBegin
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['rights_rows', 'rights_notices', 'patient_tokens', 'token_failures'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY practice ON %I USING (practice_id = current_setting(''carekeep.practice'')::uuid)', name);
    END LOOP;
END $$;
-- +goose StatementEnd

GRANT SELECT, INSERT ON rights_rows, rights_notices TO records_app;
GRANT SELECT, INSERT, UPDATE (revoked_at, viewed_at, stated_at, claimed_until, exported_at) ON patient_tokens TO records_app;
GRANT SELECT, INSERT, UPDATE (failures), DELETE ON token_failures TO records_app;

-- +goose Down
DROP TABLE token_failures, patient_tokens, rights_notices, rights_rows;
