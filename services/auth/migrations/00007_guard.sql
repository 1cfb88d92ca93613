-- +goose Up

-- Failures in a row, under the HMAC of the sign-in name, whether it exists or not.
CREATE TABLE failures (
    key   bytea PRIMARY KEY,
    count integer NOT NULL,
    last  timestamptz NOT NULL
);

CREATE INDEX failures_last ON failures (last);

-- What went wrong from a network lately. It decays to nothing in ten minutes.
CREATE TABLE reputation (
    network text PRIMARY KEY,
    score   double precision NOT NULL,
    at      timestamptz NOT NULL
);

CREATE INDEX reputation_at ON reputation (at);

CREATE TABLE resets (
    id          uuid PRIMARY KEY,
    user_id     uuid NOT NULL,
    practice_id uuid NOT NULL,
    token_hash  bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    created     timestamptz NOT NULL,
    expires     timestamptz NOT NULL,
    used        timestamptz,
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);

CREATE INDEX resets_user ON resets (user_id) WHERE used IS NULL;

ALTER TABLE resets ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY practice ON resets TO auth_app USING (practice_id = current_setting('carekeep.practice')::uuid);
CREATE POLICY owner ON resets TO CURRENT_USER USING (true);
GRANT SELECT (id, user_id, practice_id, created, expires, used), INSERT, UPDATE (used) ON resets TO auth_app;

-- restrained says how long an account or a network has to wait: for a block, or after ten failures in a
-- row one minute, doubling with each further one up to an hour. NULL: not at all.
CREATE FUNCTION restrained(p_key bytea, p_network text, p_now timestamptz) RETURNS TABLE (reason text, wait interval)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT 'ADDRESS_BLOCKED', b.until - clock.now FROM blocks b, (SELECT coalesce(p_now, clock_timestamp()) AS now) clock
    WHERE b.network = p_network AND b.until > clock.now
    UNION ALL
    SELECT 'SIGN_IN_DELAYED', f.until - f.now FROM (
        SELECT last + least(interval '1 hour', interval '1 minute' * power(2, least(count - 10, 6))) AS until,
               coalesce(p_now, clock_timestamp()) AS now
        FROM failures WHERE key = p_key AND count >= 10) f
    WHERE f.until > f.now
    LIMIT 1
$$;

-- failed counts a failure in a row and, at the hundredth, closes the account (SP 800-63B-4 section 3.2.2).
-- It answers with the count, and whether this one closed it.
-- +goose StatementBegin
CREATE FUNCTION failed(p_key bytea, p_user uuid, p_now timestamptz) RETURNS TABLE (failures integer, closes boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    clock timestamptz := coalesce(p_now, clock_timestamp());
    n integer;
BEGIN
    INSERT INTO failures (key, count, last) VALUES (p_key, 1, clock)
    ON CONFLICT (key) DO UPDATE SET count = failures.count + 1, last = clock RETURNING count INTO n;
    closes := false;
    IF n >= 100 THEN
        UPDATE users SET closed = clock WHERE id = p_user AND closed IS NULL;
        closes := FOUND;
    END IF;
    failures := n;
    RETURN NEXT;
END
$$;
-- +goose StatementEnd

-- blame adds to a network's score and blocks it at the threshold: for 15 minutes, twice as long at
-- each repetition within a day, a day at most. It answers with the end of a block that it made.
-- +goose StatementBegin
CREATE FUNCTION blame(p_network text, p_points integer, p_threshold integer, p_reason text, p_now timestamptz) RETURNS timestamptz
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    clock timestamptz := coalesce(p_now, clock_timestamp());
    total double precision;
    made timestamptz;
BEGIN
    INSERT INTO reputation (network, score, at) VALUES (p_network, p_points, clock)
    ON CONFLICT (network) DO UPDATE SET at = clock, score = p_points +
        greatest(0, reputation.score - p_threshold * extract(epoch FROM clock - reputation.at) / 600)
    RETURNING score INTO total;
    IF total < p_threshold THEN
        RETURN NULL;
    END IF;
    UPDATE reputation SET score = 0 WHERE network = p_network;
    INSERT INTO blocks (network, until, reason, score, created)
    VALUES (p_network, clock + interval '15 minutes', p_reason, total, clock)
    ON CONFLICT (network) DO UPDATE SET created = clock, reason = p_reason, score = total,
        strikes = CASE WHEN blocks.until > clock - interval '24 hours' THEN blocks.strikes + 1 ELSE 1 END,
        until = clock + CASE WHEN blocks.until > clock - interval '24 hours'
            THEN least(interval '24 hours', interval '15 minutes' * power(2, least(blocks.strikes, 7))) ELSE interval '15 minutes' END
    RETURNING until INTO made;
    RETURN made;
END
$$;
-- +goose StatementEnd

CREATE FUNCTION reset_of(p_token_hash bytea) RETURNS TABLE (
    id uuid, user_id uuid, practice_id uuid, username text, display_name text, email_sealed text, password_hash text,
    expires timestamptz, used boolean, disabled boolean
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT r.id, r.user_id, r.practice_id, u.username, u.display_name, u.email_sealed, c.password_hash, r.expires, r.used IS NOT NULL,
           u.disabled OR coalesce(p.disabled, false)
    FROM resets r JOIN users u ON u.id = r.user_id JOIN credentials c ON c.user_id = u.id LEFT JOIN practices p ON p.id = r.practice_id
    WHERE r.token_hash = p_token_hash
$$;

-- forget_attempts is purge for what this migration counts.
CREATE FUNCTION forget_attempts(p_now timestamptz) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH a AS (DELETE FROM reputation WHERE at < coalesce(p_now, clock_timestamp()) - interval '10 minutes' RETURNING 1),
         b AS (DELETE FROM blocks WHERE until < coalesce(p_now, clock_timestamp()) - interval '24 hours' RETURNING 1),
         c AS (DELETE FROM resets WHERE expires < coalesce(p_now, clock_timestamp()) - interval '90 days' RETURNING 1)
    SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b) + (SELECT count(*) FROM c)
$$;

REVOKE ALL ON FUNCTION restrained, failed, blame, reset_of, forget_attempts FROM PUBLIC;
GRANT EXECUTE ON FUNCTION restrained, failed, blame, reset_of, forget_attempts TO auth_app;
GRANT DELETE, SELECT (key) ON failures TO auth_app;
