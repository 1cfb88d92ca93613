-- +goose Up

-- Passkeys. Public keys and the ids of credentials are no secrets, and an
-- authenticator's model is of no use to us, so it is not kept.
CREATE TABLE passkeys (
    id              uuid PRIMARY KEY,
    practice_id     uuid NOT NULL,
    user_id         uuid NOT NULL,
    -- One credential belongs to one user of the installation (WebAuthn L3 section 7.1,
    -- step 26). Row-level security does not hide other practices' from the constraint.
    credential_id   bytea NOT NULL UNIQUE CHECK (length(credential_id) BETWEEN 1 AND 1023),
    public_key      bytea NOT NULL CHECK (length(public_key) BETWEEN 1 AND 2048),
    sign_count      bigint NOT NULL,
    -- Never changes after the registration.
    backup_eligible boolean NOT NULL,
    backed_up       boolean NOT NULL CHECK (backup_eligible OR NOT backed_up),
    transports      text[] NOT NULL,
    display_name    text NOT NULL,
    version         bigint NOT NULL DEFAULT 1,
    created         timestamptz NOT NULL,
    last_use        timestamptz,
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);

CREATE INDEX passkeys_user ON passkeys (user_id);

-- What authenticators know a user by: random, so that it says nothing about anybody.
ALTER TABLE credentials ADD COLUMN handle bytea UNIQUE CHECK (length(handle) = 64);
GRANT UPDATE (handle) ON credentials TO auth_app;

-- A challenge that waits for its answer. It is deleted by whoever answers, before
-- anything is verified: it counts once, on whichever replica.
CREATE TABLE ceremonies (
    id          uuid PRIMARY KEY,
    -- The nil practice where nobody knows yet who signs in.
    practice_id uuid NOT NULL,
    -- 1 registration, 2 sign-in, 3 step-up.
    kind        smallint NOT NULL CHECK (kind BETWEEN 1 AND 3),
    challenge   bytea NOT NULL CHECK (length(challenge) = 32),
    session_id  uuid CHECK ((kind = 2) = (session_id IS NULL)),
    created     timestamptz NOT NULL,
    UNIQUE (session_id, kind)
);

CREATE INDEX ceremonies_created ON ceremonies (created);

-- +goose StatementBegin
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['passkeys', 'ceremonies'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY practice ON %I TO auth_app USING (practice_id = current_setting(''carekeep.practice'')::uuid)', name);
        EXECUTE format('CREATE POLICY owner ON %I TO CURRENT_USER USING (true)', name);
    END LOOP;
END
$$;
-- +goose StatementEnd

GRANT SELECT, INSERT, UPDATE (sign_count, backed_up, display_name, version, last_use), DELETE ON passkeys TO auth_app;
GRANT SELECT, INSERT, DELETE ON ceremonies TO auth_app;

-- passkey_of leads from a credential to its user, before the practice is known.
CREATE FUNCTION passkey_of(p_credential bytea) RETURNS TABLE (
    id uuid, user_id uuid, credential_id bytea, public_key bytea, sign_count bigint,
    backup_eligible boolean, handle bytea, display_name text
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT p.id, p.user_id, p.credential_id, p.public_key, p.sign_count, p.backup_eligible, c.handle, p.display_name
    FROM passkeys p JOIN credentials c ON c.user_id = p.user_id WHERE p.credential_id = p_credential
$$;

-- purge_ceremonies forgets challenges that nobody answered.
-- +goose StatementBegin
CREATE FUNCTION purge_ceremonies(p_now timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    gone bigint;
BEGIN
    DELETE FROM ceremonies WHERE created < coalesce(p_now, clock_timestamp()) - interval '10 minutes';
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION passkey_of, purge_ceremonies FROM PUBLIC;
GRANT EXECUTE ON FUNCTION passkey_of, purge_ceremonies TO auth_app;
