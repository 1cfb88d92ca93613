-- +goose Up

-- How many notices of one rule of audit a user was sent in the hour that began with the first of them, and how many
-- were held back: whoever tries a thousand names that nobody has makes a thousand detections. A row for each user
-- and title; titles are those of rules, so the rows are few and stay.
CREATE TABLE told (
    practice_id uuid        NOT NULL,
    user_id     uuid        NOT NULL,
    title       text        NOT NULL,
    since       timestamptz NOT NULL,
    sent        integer     NOT NULL,
    held        integer     NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, title),
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);

ALTER TABLE told ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY practice ON told TO auth_app USING (practice_id = current_setting('carekeep.practice')::uuid);
CREATE POLICY owner ON told TO CURRENT_USER USING (true);
GRANT SELECT, INSERT, UPDATE (since, sent, held) ON told TO auth_app;
