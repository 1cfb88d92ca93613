-- +goose Up

-- What is cut off: a practice, a service (the numbers of carekeep.access.v1.Service), an account or an
-- address. A practice and a service are cut off by their row; the others by users.frozen and blocks, and the row says
-- why. Rows stay: they are what happened. The platform sees all of them; services and addresses are its own.
CREATE TABLE containments (
    id             uuid PRIMARY KEY,
    -- The practice that is cut off, where none of the next three is set; otherwise that of the user, or the platform.
    practice_id    uuid NOT NULL,
    -- Not gateway and auth: without them nobody could release it.
    service        smallint CHECK (service IN (3, 4, 5)),
    user_id        uuid,
    network        text,
    reason         text NOT NULL,
    -- The detection whose rule asked for it.
    detection      uuid,
    created        timestamptz NOT NULL,
    -- NULL: a rule.
    created_by     uuid,
    -- In force since; NULL while it waits for approval.
    since          timestamptz,
    approved_by    uuid,
    released       timestamptz,
    released_by    uuid,
    release_reason text NOT NULL DEFAULT '',
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id),
    CHECK (num_nonnulls(service, user_id, network) <= 1),
    CHECK (num_nonnulls(service, network) = 0 OR practice_id = '00000000-0000-0000-0000-000000000000'),
    CHECK (num_nonnulls(service, user_id, network) = 1 OR practice_id <> '00000000-0000-0000-0000-000000000000'),
    CHECK (num_nonnulls(detection, created_by) > 0),
    -- Two persons for a service; no rule cuts one off alone.
    CHECK (service IS NULL OR since IS NULL OR (approved_by IS NOT NULL AND approved_by IS DISTINCT FROM created_by))
);

CREATE UNIQUE INDEX containments_practice ON containments (practice_id)
    WHERE released IS NULL AND num_nonnulls(service, user_id, network) = 0;
CREATE UNIQUE INDEX containments_service ON containments (service) WHERE released IS NULL;
CREATE INDEX containments_user ON containments (user_id) WHERE released IS NULL;
CREATE INDEX containments_network ON containments (network) WHERE released IS NULL;

ALTER TABLE containments ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY practice ON containments TO auth_app USING (
    current_setting('carekeep.practice')::uuid IN (practice_id, '00000000-0000-0000-0000-000000000000'));
CREATE POLICY owner ON containments TO CURRENT_USER USING (true);
GRANT SELECT, INSERT, UPDATE (since, approved_by, released, released_by, release_reason) ON containments TO auth_app;

-- What was carried out for detections, so that a repeated call changes nothing.
CREATE TABLE responses (
    detection uuid        NOT NULL,
    kind      smallint    NOT NULL,
    at        timestamptz NOT NULL,
    PRIMARY KEY (detection, kind)
);
GRANT SELECT, INSERT ON responses TO auth_app;

-- account_of as before; the practice counts as disabled also while it is cut off.
CREATE OR REPLACE FUNCTION account_of(p_username text, p_user uuid) RETURNS TABLE (
    user_id uuid, practice_id uuid, username text, password_hash text, totp_sealed text, totp_step bigint,
    user_disabled boolean, practice_disabled boolean, frozen boolean, closed boolean, factors integer, accept_email_code boolean
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT u.id, u.practice_id, u.username, c.password_hash, c.totp_sealed, c.totp_step, u.disabled,
           coalesce(p.disabled, false) OR EXISTS (
               SELECT FROM containments x WHERE x.practice_id = u.practice_id AND x.released IS NULL
               AND num_nonnulls(x.service, x.user_id, x.network) = 0),
           u.frozen IS NOT NULL, u.closed IS NOT NULL, c.factors, coalesce(p.accept_email_code, false)
    FROM users u JOIN credentials c ON c.user_id = u.id LEFT JOIN practices p ON p.id = u.practice_id
    WHERE u.username = p_username OR u.id = p_user
$$;
