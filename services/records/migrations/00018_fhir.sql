-- Bulk exports of FHIR. A row says who exports what, as of when; there are no files with
-- content: what a file holds is planned, and read from the documents when it is fetched.

-- +goose Up
CREATE TABLE fhir_exports (
    practice_id uuid             NOT NULL,
    export_id   uuid             NOT NULL,
    user_id     uuid             NOT NULL,
    types       text[]           NOT NULL CHECK (cardinality(types) > 0),
    since       timestamptz      NOT NULL,
    -- The URL that began it, without its base; no parameter of it holds patient data.
    request     text             NOT NULL,
    -- The moment whose state is exported.
    created_at  timestamptz      NOT NULL,
    -- By then every change with an earlier time is committed.
    ready_at    timestamptz      NOT NULL CHECK (ready_at >= created_at),
    expires_at  timestamptz      NOT NULL CHECK (expires_at > ready_at),
    -- How far the plan of its files is: after this resource; no type is the end.
    plan_type   text COLLATE "C" NOT NULL,
    plan_id     uuid             NOT NULL,
    PRIMARY KEY (practice_id, export_id)
);

-- A file: resources of a type from one id to another.
CREATE TABLE fhir_export_files (
    practice_id uuid             NOT NULL,
    export_id   uuid             NOT NULL,
    type        text COLLATE "C" NOT NULL,
    first_id    uuid             NOT NULL,
    last_id     uuid             NOT NULL,
    resources   int              NOT NULL,
    PRIMARY KEY (practice_id, export_id, type, first_id),
    FOREIGN KEY (practice_id, export_id) REFERENCES fhir_exports ON DELETE CASCADE
);

-- +goose StatementBegin
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['fhir_exports', 'fhir_export_files'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY practice ON %I USING (practice_id = current_setting(''carekeep.practice'')::uuid)', name);
    END LOOP;
END $$;
-- +goose StatementEnd

GRANT SELECT, INSERT, DELETE, UPDATE (plan_type, plan_id) ON fhir_exports TO records_app;
GRANT SELECT, INSERT, DELETE ON fhir_export_files TO records_app;

-- +goose Down
DROP TABLE fhir_export_files, fhir_exports;
