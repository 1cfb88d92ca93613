-- +goose Up

-- A consent to codes is the user's who enrolled the number, and ends with the factor: two
-- users with one number have one each.
DROP INDEX consents_live;
CREATE UNIQUE INDEX consents_live ON consents
    (practice_id, token, category, (CASE category WHEN 3 THEN created_by ELSE '00000000-0000-0000-0000-000000000000' END)) WHERE revoked IS NULL;
CREATE INDEX consents_codes ON consents (created_by) WHERE category = 3 AND token IS NOT NULL;
CREATE INDEX messages_codes ON messages (created_by) WHERE category = 3;

-- purge_account removes what says who an account belonged to, if it was not used since it was seen.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION purge_account(p_user uuid, p_practice uuid, p_seen timestamptz, p_now timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    clock timestamptz := coalesce(p_now, clock_timestamp());
BEGIN
    IF last_activity(p_user) <> p_seen THEN
        RETURN false;
    END IF;
    UPDATE users SET display_name = '', email_sealed = '', disabled = true, version = version + 1, purged = clock
    WHERE id = p_user AND practice_id = p_practice AND purged IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE credentials SET password_hash = '', totp_sealed = '', pending_sealed = '', pending_session = NULL, pending_since = NULL,
        factors = 0, handle = NULL WHERE user_id = p_user;
    DELETE FROM ceremonies c USING sessions s WHERE s.user_id = p_user AND c.session_id = s.id;
    DELETE FROM passkeys WHERE user_id = p_user;
    DELETE FROM recovery_codes WHERE user_id = p_user;
    DELETE FROM codes WHERE user_id = p_user;
    DELETE FROM phones WHERE user_id = p_user;
    DELETE FROM resets WHERE user_id = p_user;
    -- That somebody consented and was sent codes stays, to which number does not.
    UPDATE consents SET token = NULL, number_sealed = '', revoked = coalesce(revoked, clock) WHERE created_by = p_user AND category = 3;
    DELETE FROM texts q USING messages m WHERE m.created_by = p_user AND m.category = 3 AND q.id = m.id;
    UPDATE messages SET token = NULL, wide = NULL WHERE created_by = p_user AND category = 3;
    DELETE FROM sessions WHERE user_id = p_user;
    DELETE FROM invitations WHERE user_id = p_user;
    DELETE FROM occasions WHERE user_id = p_user;
    DELETE FROM sharings WHERE user_id = p_user;
    DELETE FROM networks WHERE user_id = p_user;
    DELETE FROM devices WHERE user_id = p_user;
    RETURN true;
END
$$;
-- +goose StatementEnd
