-- Who sees a patient for a time: members of care teams, and who broke the glass.

-- +goose Up

-- No row is rewritten: who was a member before the migration is one since ever and without end.
ALTER TABLE care_team
    ADD COLUMN starts_at timestamptz NOT NULL DEFAULT '-infinity',
    ADD COLUMN ends_at   timestamptz NOT NULL DEFAULT 'infinity',
    ADD CONSTRAINT care_team_period CHECK (starts_at < ends_at);
-- Reads ask for the period with every access: the index answers without the table.
DROP INDEX care_team_by_user;
CREATE INDEX care_team_by_user ON care_team (practice_id, user_id, patient_id) INCLUDE (starts_at, ends_at);

-- Who an administrator designated to break the glass.
CREATE TABLE glass_users (
    practice_id   uuid        NOT NULL,
    user_id       uuid        NOT NULL,
    designated_at timestamptz NOT NULL DEFAULT statement_timestamp(),
    designated_by uuid        NOT NULL CHECK (designated_by <> user_id),
    PRIMARY KEY (practice_id, user_id)
);

-- One patient, opened to one user for an hour at most, by this server's clock. reason is
-- sealed under the patient's key.
CREATE TABLE glass_openings (
    practice_id uuid        NOT NULL,
    opening_id  uuid        NOT NULL,
    patient_id  uuid        NOT NULL,
    user_id     uuid        NOT NULL,
    key_id      uuid        NOT NULL,
    reason      bytea       NOT NULL,
    opened_at   timestamptz NOT NULL DEFAULT statement_timestamp(),
    ends_at     timestamptz NOT NULL CHECK (ends_at >= opened_at AND ends_at <= opened_at + interval '60 minutes'),
    reviewed_at timestamptz,
    reviewed_by uuid CHECK (reviewed_by <> user_id),
    finding     smallint    NOT NULL DEFAULT 0 CHECK ((finding <> 0) = (reviewed_at IS NOT NULL) AND (finding <> 0) = (reviewed_by IS NOT NULL)),
    -- When the audit log was told that nobody reviewed it in time.
    overdue_at  timestamptz,
    PRIMARY KEY (practice_id, opening_id)
);
CREATE INDEX glass_openings_by_user ON glass_openings (practice_id, user_id, patient_id, ends_at);
CREATE INDEX glass_openings_open ON glass_openings (practice_id, opened_at) WHERE reviewed_at IS NULL;

-- +goose StatementBegin
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['glass_users', 'glass_openings'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY practice ON %I USING (practice_id = current_setting(''carekeep.practice'')::uuid)', name);
    END LOOP;
END $$;
-- +goose StatementEnd

GRANT UPDATE (added_at, starts_at, ends_at) ON care_team TO records_app;
GRANT SELECT, INSERT, DELETE ON glass_users TO records_app;
GRANT SELECT, INSERT, UPDATE (ends_at, reviewed_at, reviewed_by, finding, overdue_at) ON glass_openings TO records_app;

-- +goose Down
DROP TABLE glass_openings, glass_users;
DROP INDEX care_team_by_user;
CREATE INDEX care_team_by_user ON care_team (practice_id, user_id, patient_id);
ALTER TABLE care_team DROP COLUMN starts_at, DROP COLUMN ends_at;
