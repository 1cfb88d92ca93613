-- +goose Up

-- reset_due: the password may be known to somebody else, so that nothing but a reset opens a closed account.
ALTER TABLE users ADD COLUMN reset_due boolean NOT NULL DEFAULT false;
GRANT UPDATE (reset_due) ON users TO auth_app;

-- restrained answers as before and now also takes the turn: of those that wait for the end of a
-- delay at the same moment, one tries and the others wait on.
DROP FUNCTION restrained;
-- +goose StatementBegin
CREATE FUNCTION restrained(p_key bytea, p_network text, p_now timestamptz) RETURNS TABLE (reason text, wait interval)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    clock timestamptz := coalesce(p_now, clock_timestamp());
    pause CONSTANT interval := interval '1 minute';
BEGIN
    RETURN QUERY SELECT 'ADDRESS_BLOCKED', b.until - clock FROM blocks b WHERE b.network = p_network AND b.until > clock;
    IF FOUND THEN
        RETURN;
    END IF;
    UPDATE failures f SET last = clock
    WHERE f.key = p_key AND f.count >= 10 AND f.last + least(pause * 60, pause * power(2, least(f.count - 10, 6))) <= clock;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'SIGN_IN_DELAYED', f.last + least(pause * 60, pause * power(2, least(f.count - 10, 6))) - clock
        FROM failures f WHERE f.key = p_key AND f.count >= 10;
    END IF;
END
$$;
-- +goose StatementEnd

-- failed now ends the sessions of the account that it closes and leaves word for its user: who
-- guesses second factors does so in a session.
DROP FUNCTION failed;
-- +goose StatementBegin
CREATE FUNCTION failed(p_key bytea, p_user uuid, p_address text, p_now timestamptz) RETURNS TABLE (failures integer, closes boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    clock timestamptz := coalesce(p_now, clock_timestamp());
    home uuid;
    n integer;
BEGIN
    INSERT INTO failures (key, count, last) VALUES (p_key, 1, clock)
    ON CONFLICT (key) DO UPDATE SET count = failures.count + 1, last = clock RETURNING count INTO n;
    closes := false;
    IF n >= 100 THEN
        UPDATE users SET closed = clock WHERE id = p_user AND closed IS NULL RETURNING practice_id INTO home;
        closes := FOUND;
        IF closes THEN
            UPDATE sessions SET ended = clock, end_reason = 'ACCOUNT_CLOSED' WHERE user_id = p_user AND ended IS NULL;
            INSERT INTO occasions (id, practice_id, user_id, kind, address, user_agent, created)
            VALUES (gen_random_uuid(), home, p_user, 'ACCOUNT_CLOSED', p_address, '', clock);
        END IF;
    END IF;
    failures := n;
    RETURN NEXT;
END
$$;
-- +goose StatementEnd

-- forget_attempts now also forgets rows of failures that nobody added to for 90 days. An account
-- that they closed stays closed.
CREATE OR REPLACE FUNCTION forget_attempts(p_now timestamptz) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH a AS (DELETE FROM reputation WHERE at < coalesce(p_now, clock_timestamp()) - interval '10 minutes' RETURNING 1),
         b AS (DELETE FROM blocks WHERE until < coalesce(p_now, clock_timestamp()) - interval '24 hours' RETURNING 1),
         c AS (DELETE FROM resets WHERE expires < coalesce(p_now, clock_timestamp()) - interval '90 days' RETURNING 1),
         d AS (DELETE FROM failures WHERE last < coalesce(p_now, clock_timestamp()) - interval '90 days' RETURNING 1)
    SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b) + (SELECT count(*) FROM c) + (SELECT count(*) FROM d)
$$;

REVOKE ALL ON FUNCTION restrained, failed FROM PUBLIC;
GRANT EXECUTE ON FUNCTION restrained, failed TO auth_app;
