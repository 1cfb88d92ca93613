-- +goose Up

-- Reports of other services that an account was frozen for, so that one which is repeated, say after a thaw, freezes
-- nobody again.
CREATE TABLE freeze_reports (
    practice_id uuid        NOT NULL,
    id          uuid        NOT NULL,
    user_id     uuid        NOT NULL,
    at          timestamptz NOT NULL,
    PRIMARY KEY (practice_id, id),
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);
ALTER TABLE freeze_reports ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY practice ON freeze_reports TO auth_app USING (practice_id = current_setting('carekeep.practice')::uuid);
CREATE POLICY owner ON freeze_reports TO CURRENT_USER USING (true);
GRANT SELECT, INSERT ON freeze_reports TO auth_app;

-- +goose Down
DROP TABLE freeze_reports;
