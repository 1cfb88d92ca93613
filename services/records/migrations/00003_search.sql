-- The blind index of all resource types, in generations: while a new one is built,
-- writes keep both, and searches use the one that is live. It replaces patient_index.

-- +goose Up

-- A generation is one way of making tokens: a format of normalisation, the region
-- of phone numbers, with or without phonetics, under the practice's index key or one of its own.
CREATE TABLE index_generations (
    practice_id uuid        NOT NULL,
    generation  integer     NOT NULL CHECK (generation > 0),
    state       text        NOT NULL CHECK (state IN ('BUILDING', 'LIVE', 'DROPPING')),
    format      integer     NOT NULL,
    region      text        NOT NULL CHECK (region ~ '^[A-Z]{2}$'),
    phonetics   boolean     NOT NULL,
    -- The generation's own key, wrapped; without one it is the practice's index key.
    key_id      uuid,
    wrapped     text,
    -- How far the build is: up to which document, how many were read, of how many about.
    at_type     text COLLATE "C" NOT NULL DEFAULT '',
    at_id       uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    done        bigint      NOT NULL DEFAULT 0,
    broken      bigint      NOT NULL DEFAULT 0,
    total       bigint      NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL,
    live_at     timestamptz,
    PRIMARY KEY (practice_id, generation),
    CHECK ((key_id IS NULL) = (wrapped IS NULL))
);
CREATE UNIQUE INDEX index_generations_live ON index_generations (practice_id) WHERE state = 'LIVE';
CREATE UNIQUE INDEX index_generations_building ON index_generations (practice_id) WHERE state = 'BUILDING';

-- HMAC-SHA-256 of normalised values under the generation's key. index_id says which
-- index, for the leakage report; a token of one index or generation never equals one of another.
CREATE TABLE resource_index (
    practice_id uuid             NOT NULL,
    generation  integer          NOT NULL,
    token       bytea            NOT NULL,
    type        text COLLATE "C" NOT NULL,
    id          uuid             NOT NULL,
    patient_id  uuid             NOT NULL,
    index_id    smallint         NOT NULL,
    PRIMARY KEY (practice_id, generation, token, type, id)
);
CREATE INDEX resource_index_by_document ON resource_index (practice_id, patient_id, type, id);

-- +goose StatementBegin
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['index_generations', 'resource_index'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY practice ON %I USING (practice_id = current_setting(''carekeep.practice'')::uuid)', name);
    END LOOP;
END $$;
-- +goose StatementEnd

-- Practices that have documents get their first generation built from them.
ALTER TABLE practice_keys NO FORCE ROW LEVEL SECURITY;
INSERT INTO index_generations (practice_id, generation, state, format, region, phonetics, created_at)
SELECT practice_id, 1, 'BUILDING', 1, 'US', false, now() FROM practice_keys;
ALTER TABLE practice_keys FORCE ROW LEVEL SECURITY;
ALTER TABLE index_generations FORCE ROW LEVEL SECURITY;
ALTER TABLE resource_index FORCE ROW LEVEL SECURITY;

DROP TABLE patient_index;

GRANT SELECT, INSERT, DELETE ON resource_index TO records_app;
GRANT SELECT, INSERT, DELETE, UPDATE (state, at_type, at_id, done, broken, live_at) ON index_generations TO records_app;

-- +goose Down
DROP TABLE resource_index, index_generations;
CREATE TABLE patient_index (
    practice_id uuid  NOT NULL,
    token       bytea NOT NULL,
    patient_id  uuid  NOT NULL,
    PRIMARY KEY (practice_id, token, patient_id)
);
CREATE INDEX patient_index_by_patient ON patient_index (practice_id, patient_id);
ALTER TABLE patient_index ENABLE ROW LEVEL SECURITY;
ALTER TABLE patient_index FORCE ROW LEVEL SECURITY;
CREATE POLICY practice ON patient_index USING (practice_id = current_setting('carekeep.practice')::uuid);
GRANT SELECT, INSERT, DELETE ON patient_index TO records_app;
