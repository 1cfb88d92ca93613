-- +goose Up

-- The nil practice is the platform: superadmins belong to it and to no real one.

CREATE TABLE practices (
    id           uuid PRIMARY KEY,
    display_name text NOT NULL,
    disabled     boolean NOT NULL DEFAULT false,
    version      bigint NOT NULL DEFAULT 1,
    created      timestamptz NOT NULL,
    updated      timestamptz NOT NULL,
    created_by   uuid NOT NULL,
    request_id   uuid,
    UNIQUE (created_by, request_id)
);

CREATE TABLE billing_settings (
    practice_id          uuid PRIMARY KEY REFERENCES practices,
    legal_name           text NOT NULL DEFAULT '',
    billing_email_sealed text NOT NULL DEFAULT '',
    currency             text NOT NULL DEFAULT '',
    version              bigint NOT NULL DEFAULT 1
);

-- Rows are never deleted and username has no UPDATE grant, so that neither an id
-- nor a sign-in name is ever given twice (claim DH-18). Row-level security does
-- not hide other practices' names from the UNIQUE constraint.
CREATE TABLE users (
    id           uuid PRIMARY KEY,
    practice_id  uuid NOT NULL,
    username     text NOT NULL UNIQUE CHECK (username = lower(username)),
    display_name text NOT NULL,
    email_sealed text NOT NULL,
    role         smallint NOT NULL CHECK (role BETWEEN 1 AND 4),
    template     text NOT NULL DEFAULT '',
    disabled     boolean NOT NULL DEFAULT false,
    version      bigint NOT NULL DEFAULT 1,
    created      timestamptz NOT NULL,
    updated      timestamptz NOT NULL,
    created_by   uuid NOT NULL,
    request_id   uuid,
    UNIQUE (created_by, request_id),
    UNIQUE (practice_id, id),
    CHECK ((role = 1) = (practice_id = '00000000-0000-0000-0000-000000000000')),
    CHECK ((role = 4) = (template <> ''))
);

-- Apart from users, so that reading a user never touches a secret.
CREATE TABLE credentials (
    user_id       uuid PRIMARY KEY,
    practice_id   uuid NOT NULL,
    -- argon2id in PHC form; empty until the invitation is accepted.
    password_hash text NOT NULL DEFAULT '',
    -- Sealed by transit; empty where there is no confirmed factor.
    totp_sealed   text NOT NULL DEFAULT '',
    -- The last accepted time step: each counts once.
    totp_step     bigint NOT NULL DEFAULT 0,
    -- An enrolment that waits for its first code, and the session that asked for it.
    pending_sealed  text NOT NULL DEFAULT '',
    pending_session uuid,
    pending_since   timestamptz,
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);

-- The times of the user's latest admitted requests, oldest first, at most as many
-- as the limit. The row's lock orders everything that changes the user's
-- sessions: Admit, sign-in, disable.
CREATE TABLE activity (
    user_id     uuid PRIMARY KEY,
    practice_id uuid NOT NULL,
    hits        timestamptz[] NOT NULL DEFAULT '{}',
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
) WITH (fillfactor = 50);

CREATE TABLE sessions (
    id          uuid PRIMARY KEY,
    user_id     uuid NOT NULL,
    practice_id uuid NOT NULL,
    -- SHA-256 of the token; the token itself is nowhere.
    token_hash  bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    assurance   smallint NOT NULL CHECK (assurance IN (1, 2)),
    created     timestamptz NOT NULL,
    last_use    timestamptz NOT NULL,
    expires     timestamptz NOT NULL,
    ended       timestamptz,
    end_reason  text NOT NULL DEFAULT '',
    address     text NOT NULL,
    user_agent  text NOT NULL,
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
) WITH (fillfactor = 50);

CREATE INDEX sessions_open ON sessions (user_id) WHERE ended IS NULL;
CREATE INDEX sessions_expires ON sessions (expires);

-- The foreign keys keep an assignment inside one practice.
CREATE TABLE assignments (
    doctor_id   uuid NOT NULL,
    staff_id    uuid NOT NULL CHECK (staff_id <> doctor_id),
    practice_id uuid NOT NULL,
    -- Bits: 1 appointments, 2 patients, 4 prescriptions, 8 notes, 16 clinical.
    modules     integer NOT NULL DEFAULT 31 CHECK (modules BETWEEN 0 AND 31),
    created     timestamptz NOT NULL,
    PRIMARY KEY (doctor_id, staff_id),
    FOREIGN KEY (practice_id, doctor_id) REFERENCES users (practice_id, id),
    FOREIGN KEY (practice_id, staff_id) REFERENCES users (practice_id, id)
);

CREATE INDEX assignments_staff ON assignments (staff_id);

CREATE TABLE invitations (
    id          uuid PRIMARY KEY,
    user_id     uuid NOT NULL,
    practice_id uuid NOT NULL,
    token_hash  bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    created     timestamptz NOT NULL,
    expires     timestamptz NOT NULL,
    used        timestamptz,
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);

CREATE INDEX invitations_user ON invitations (user_id) WHERE used IS NULL;

-- Sign-in attempts in a sliding window. Keys are HMACs of names and addresses.
CREATE TABLE attempts (
    key  bytea PRIMARY KEY,
    hits timestamptz[] NOT NULL DEFAULT '{}',
    last timestamptz NOT NULL
);

CREATE INDEX attempts_last ON attempts (last);

-- Outgoing mail, sealed: it holds invitation tokens and addresses.
CREATE TABLE mail (
    id      uuid PRIMARY KEY,
    sealed  text NOT NULL,
    created timestamptz NOT NULL,
    due     timestamptz NOT NULL,
    expires timestamptz NOT NULL,
    tries   integer NOT NULL DEFAULT 0
);

CREATE INDEX mail_due ON mail (due);

-- Keys that all replicas share, wrapped by transit.
CREATE TABLE installation_keys (
    name    text PRIMARY KEY,
    wrapped text NOT NULL
);

-- Practice isolation. The service's role sees one practice per transaction, the
-- one that it names in carekeep.practice; a transaction that names none fails.
-- The owner, as whom the functions of the next migration run, sees all: a session,
-- an invitation or a sign-in name must be found before its practice is known.
-- +goose StatementBegin
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['users', 'credentials', 'activity', 'sessions', 'assignments', 'invitations', 'billing_settings'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY practice ON %I TO auth_app USING (practice_id = current_setting(''carekeep.practice'')::uuid)', name);
        EXECUTE format('CREATE POLICY owner ON %I TO CURRENT_USER USING (true)', name);
    END LOOP;
END
$$;
-- +goose StatementEnd

ALTER TABLE practices ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY practice ON practices TO auth_app USING (
    current_setting('carekeep.practice')::uuid IN (id, '00000000-0000-0000-0000-000000000000'));
CREATE POLICY owner ON practices TO CURRENT_USER USING (true);

GRANT SELECT, INSERT, UPDATE (display_name, disabled, version, updated) ON practices TO auth_app;
GRANT SELECT, INSERT, UPDATE (legal_name, billing_email_sealed, currency, version) ON billing_settings TO auth_app;
GRANT SELECT, INSERT, UPDATE (display_name, email_sealed, role, template, disabled, version, updated) ON users TO auth_app;
GRANT SELECT, INSERT, UPDATE (password_hash, totp_sealed, totp_step, pending_sealed, pending_session, pending_since) ON credentials TO auth_app;
GRANT SELECT (user_id, practice_id), INSERT, UPDATE (hits) ON activity TO auth_app;
GRANT SELECT (id, user_id, practice_id, assurance, created, last_use, expires, ended, end_reason, address, user_agent),
    INSERT, UPDATE (token_hash, assurance, last_use, ended, end_reason) ON sessions TO auth_app;
GRANT SELECT, INSERT, UPDATE (modules), DELETE ON assignments TO auth_app;
GRANT SELECT (id, user_id, practice_id, created, expires, used), INSERT, UPDATE (used) ON invitations TO auth_app;
GRANT SELECT, INSERT, UPDATE (due, tries), DELETE ON mail TO auth_app;
GRANT SELECT, INSERT ON installation_keys TO auth_app;
