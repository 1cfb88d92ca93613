-- Referrals: a doctor of the care team asks another of the practice to see a patient for a time.

-- +goose Up

-- reason is sealed under the patient's key. While accepted, not withdrawn and in time, a row
-- opens the patient to to_user (store.entitled asks that with every access).
CREATE TABLE referrals (
    practice_id  uuid        NOT NULL,
    referral_id  uuid        NOT NULL,
    patient_id   uuid        NOT NULL,
    from_user    uuid        NOT NULL,
    to_user      uuid        NOT NULL CHECK (to_user <> from_user),
    key_id       uuid        NOT NULL,
    reason       bytea       NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT statement_timestamp(),
    starts_at    timestamptz NOT NULL,
    ends_at      timestamptz NOT NULL CHECK (ends_at > starts_at AND ends_at <= starts_at + interval '180 days'),
    -- 0 open, 1 accepted, 2 declined.
    decision     smallint    NOT NULL DEFAULT 0 CHECK (decision BETWEEN 0 AND 2),
    decided_at   timestamptz CHECK ((decided_at IS NULL) = (decision = 0)),
    withdrawn_at timestamptz,
    PRIMARY KEY (practice_id, referral_id)
);
CREATE INDEX referrals_to ON referrals (practice_id, to_user, created_at DESC, referral_id DESC);
CREATE INDEX referrals_from ON referrals (practice_id, from_user, created_at DESC, referral_id DESC);
-- Reads ask with every access of those who are not on the care team: the index answers alone.
CREATE INDEX referrals_open ON referrals (practice_id, to_user, patient_id) INCLUDE (starts_at, ends_at)
    WHERE decision = 1 AND withdrawn_at IS NULL;

ALTER TABLE referrals ENABLE ROW LEVEL SECURITY;
ALTER TABLE referrals FORCE ROW LEVEL SECURITY;
CREATE POLICY practice ON referrals USING (practice_id = current_setting('carekeep.practice')::uuid);

GRANT SELECT, INSERT, UPDATE (decision, decided_at, withdrawn_at) ON referrals TO records_app;

-- +goose Down
DROP TABLE referrals;
