-- +goose Up

-- One-time codes by mail and text message, recovery codes, and sign-ins that a phone approves.

-- At most one live code for each user and purpose: a new one takes the row over.
-- Purposes: 1 by mail, 2 by text message, 3 the first code to a number that is being enrolled.
CREATE TABLE codes (
    user_id     uuid NOT NULL,
    practice_id uuid NOT NULL,
    purpose     smallint NOT NULL CHECK (purpose BETWEEN 1 AND 3),
    -- The request that the code belongs to, and the session that made it (ASVS 6.6.2).
    id          uuid NOT NULL,
    session_id  uuid NOT NULL,
    -- HMAC under a key of the installation: the code is too short for a bare hash.
    code_hash   bytea NOT NULL CHECK (length(code_hash) = 32),
    -- The number that waits for its first code, sealed; otherwise empty.
    number_sealed text NOT NULL DEFAULT '',
    created     timestamptz NOT NULL,
    expires     timestamptz NOT NULL CHECK (expires <= created + interval '10 minutes'),
    tries       integer NOT NULL DEFAULT 0,
    used        timestamptz,
    PRIMARY KEY (user_id, purpose),
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);

CREATE INDEX codes_expires ON codes (expires);

-- The number that codes go to; sealed. One for each user.
CREATE TABLE phones (
    user_id       uuid PRIMARY KEY,
    practice_id   uuid NOT NULL,
    number_sealed text NOT NULL,
    confirmed     timestamptz NOT NULL,
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);

CREATE TABLE recovery_codes (
    user_id     uuid NOT NULL,
    code_hash   bytea NOT NULL CHECK (length(code_hash) = 32),
    practice_id uuid NOT NULL,
    created     timestamptz NOT NULL,
    used        timestamptz,
    PRIMARY KEY (user_id, code_hash),
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);

-- Belongs to no practice: whose sign-in it becomes is known once a phone approves.
-- States: 1 pending, 2 approved, 3 denied, 4 used.
CREATE TABLE qr_sign_ins (
    id          uuid PRIMARY KEY,
    -- SHA-256 of what only the browser knows that began.
    secret_hash bytea NOT NULL CHECK (length(secret_hash) = 32),
    number      integer NOT NULL CHECK (number BETWEEN 10 AND 99),
    -- The number among others, in the order in which the phone shows them.
    numbers     integer[] NOT NULL CHECK (cardinality(numbers) = 3 AND number = ANY (numbers)),
    network     text NOT NULL,
    user_agent  text NOT NULL,
    created     timestamptz NOT NULL,
    expires     timestamptz NOT NULL CHECK (expires <= created + interval '2 minutes'),
    state       smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 4),
    -- Who approved, and in which session: the approval ends with it.
    user_id     uuid,
    session_id  uuid,
    CHECK (state NOT IN (2, 4) OR (user_id IS NOT NULL AND session_id IS NOT NULL))
);

CREATE INDEX qr_sign_ins_expires ON qr_sign_ins (expires);

-- +goose StatementBegin
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['codes', 'phones', 'recovery_codes'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY practice ON %I TO auth_app USING (practice_id = current_setting(''carekeep.practice'')::uuid)', name);
        EXECUTE format('CREATE POLICY owner ON %I TO CURRENT_USER USING (true)', name);
    END LOOP;
END
$$;
-- +goose StatementEnd

GRANT SELECT, INSERT, UPDATE (id, session_id, code_hash, number_sealed, created, expires, tries, used) ON codes TO auth_app;
GRANT SELECT, INSERT, UPDATE (number_sealed, confirmed), DELETE ON phones TO auth_app;
GRANT SELECT, INSERT, UPDATE (used), DELETE ON recovery_codes TO auth_app;
GRANT SELECT, INSERT, UPDATE (state, user_id, session_id) ON qr_sign_ins TO auth_app;

-- purge_codes forgets codes and requests an hour after their end.
-- +goose StatementBegin
CREATE FUNCTION purge_codes(p_now timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    clock timestamptz := coalesce(p_now, clock_timestamp());
    gone bigint;
    total bigint := 0;
BEGIN
    DELETE FROM codes WHERE expires < clock - interval '1 hour';
    GET DIAGNOSTICS gone = ROW_COUNT; total := total + gone;
    DELETE FROM qr_sign_ins WHERE expires < clock - interval '1 hour';
    GET DIAGNOSTICS gone = ROW_COUNT; total := total + gone;
    RETURN total;
END
$$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION purge_codes FROM PUBLIC;
GRANT EXECUTE ON FUNCTION purge_codes TO auth_app;
