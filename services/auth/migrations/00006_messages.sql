-- +goose Up

-- Text messages: who agreed to them, who said stop, and what was sent. Numbers are
-- sealed; a number is found by its blind index, an HMAC under a key that transit
-- wraps and that differs for each practice. The nil practice is the installation.

-- A practice's registered use of a sending number (10DLC). Replies to that number
-- are this practice's, so no second practice can claim it.
CREATE TABLE campaigns (
    id           uuid PRIMARY KEY,
    practice_id  uuid NOT NULL,
    -- The id that The Campaign Registry gave.
    registration text NOT NULL,
    sender       text NOT NULL UNIQUE,
    brand        text NOT NULL,
    contact      text NOT NULL,
    created      timestamptz NOT NULL,
    created_by   uuid NOT NULL,
    UNIQUE (practice_id, id)
);

-- Categories: 1 appointments, 2 care, 3 one-time codes of a user.
CREATE TABLE consents (
    id            uuid PRIMARY KEY,
    practice_id   uuid NOT NULL,
    -- Empty once erased: that somebody consented stays, who it was does not.
    token         bytea,
    number_sealed text NOT NULL,
    category      smallint NOT NULL CHECK (category BETWEEN 1 AND 3),
    source        smallint NOT NULL,
    given         timestamptz NOT NULL,
    created       timestamptz NOT NULL,
    created_by    uuid NOT NULL,
    revoked       timestamptz,
    revoked_by    uuid
);

CREATE UNIQUE INDEX consents_live ON consents (practice_id, token, category) WHERE revoked IS NULL;
CREATE INDEX consents_token ON consents (practice_id, token);

-- Who said stop, for good: no grant changes or deletes a row, and erasing a person
-- leaves it, for it holds nothing but the HMAC (claim DMD-27).
CREATE TABLE suppressions (
    practice_id uuid NOT NULL,
    token       bytea NOT NULL CHECK (length(token) = 32),
    created     timestamptz NOT NULL,
    PRIMARY KEY (practice_id, token)
);

-- Numbers that wrote something nobody has read yet: nothing is sent until then.
CREATE TABLE holds (
    practice_id uuid NOT NULL,
    token       bytea NOT NULL,
    created     timestamptz NOT NULL,
    PRIMARY KEY (practice_id, token)
);

CREATE TABLE reviews (
    id            uuid PRIMARY KEY,
    practice_id   uuid NOT NULL,
    token         bytea,
    number_sealed text NOT NULL,
    text_sealed   text NOT NULL,
    received      timestamptz NOT NULL,
    resolved      timestamptz,
    resolved_by   uuid,
    -- 1 go on sending, 2 opt out.
    resolution    smallint
);

CREATE INDEX reviews_open ON reviews (practice_id, id) WHERE resolved IS NULL;
CREATE INDEX reviews_token ON reviews (practice_id, token);

-- What was sent or is to be. States: 1 queued, 2 sent, 3 failed, 4 withheld, 5 expired.
-- Category 0 answers a message that came in.
CREATE TABLE messages (
    id          uuid PRIMARY KEY,
    practice_id uuid NOT NULL,
    token       bytea,
    -- The blind index of the installation.
    wide        bytea,
    category    smallint NOT NULL CHECK (category BETWEEN 0 AND 3),
    template    text NOT NULL,
    campaign_id uuid,
    state       smallint NOT NULL DEFAULT 1 CHECK (state BETWEEN 1 AND 5),
    reason      text NOT NULL DEFAULT '',
    created     timestamptz NOT NULL,
    updated     timestamptz NOT NULL,
    created_by  uuid,
    request_id  uuid,
    UNIQUE (created_by, request_id),
    FOREIGN KEY (practice_id, campaign_id) REFERENCES campaigns (practice_id, id)
);

CREATE INDEX messages_token ON messages (practice_id, token, created);
CREATE INDEX messages_wide ON messages (wide) WHERE category = 3;
CREATE INDEX messages_page ON messages (practice_id, id);

-- The queue, sealed: it holds numbers and codes.
CREATE TABLE texts (
    id          uuid PRIMARY KEY,
    practice_id uuid NOT NULL,
    sealed      text NOT NULL,
    created     timestamptz NOT NULL,
    due         timestamptz NOT NULL,
    expires     timestamptz NOT NULL,
    tries       integer NOT NULL DEFAULT 0
);

CREATE INDEX texts_due ON texts (due);

-- The provider's ids of messages that came in: each counts once.
CREATE TABLE received (
    sid     text PRIMARY KEY,
    created timestamptz NOT NULL
);

-- +goose StatementBegin
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['campaigns', 'consents', 'reviews', 'messages'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY practice ON %I TO auth_app USING (practice_id = current_setting(''carekeep.practice'')::uuid)', name);
        EXECUTE format('CREATE POLICY owner ON %I TO CURRENT_USER USING (true)', name);
    END LOOP;
    -- What holds for the installation holds for every practice.
    FOREACH name IN ARRAY ARRAY['suppressions', 'holds'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY practice ON %I TO auth_app
            USING (practice_id IN (current_setting(''carekeep.practice'')::uuid, ''00000000-0000-0000-0000-000000000000''))
            WITH CHECK (practice_id = current_setting(''carekeep.practice'')::uuid)', name);
        EXECUTE format('CREATE POLICY owner ON %I TO CURRENT_USER USING (true)', name);
    END LOOP;
END
$$;
-- +goose StatementEnd

-- The worker takes from the queue of every practice, as the platform.
ALTER TABLE texts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY practice ON texts TO auth_app USING (
    current_setting('carekeep.practice')::uuid IN (practice_id, '00000000-0000-0000-0000-000000000000'));
CREATE POLICY owner ON texts TO CURRENT_USER USING (true);

GRANT SELECT, INSERT ON campaigns TO auth_app;
GRANT SELECT, INSERT, UPDATE (token, number_sealed, revoked, revoked_by) ON consents TO auth_app;
GRANT SELECT, INSERT ON suppressions TO auth_app;
GRANT SELECT, INSERT, DELETE ON holds TO auth_app;
GRANT SELECT, INSERT, UPDATE (token, number_sealed, text_sealed, resolved, resolved_by, resolution) ON reviews TO auth_app;
GRANT SELECT, INSERT, UPDATE (token, wide, state, reason, updated) ON messages TO auth_app;
GRANT SELECT, INSERT, UPDATE (due, tries), DELETE ON texts TO auth_app;
GRANT SELECT, INSERT ON received TO auth_app;

-- Why nothing may be sent to a number, or ''. It is asked before a message is
-- queued and again before it is sent. Counted messages are those to patients: one
-- a day and three a week (47 CFR 64.1200(a)(9)(iv)), not counting the message p_id itself.
CREATE FUNCTION text_refusal(
    p_practice uuid, p_token bytea, p_wide bytea, p_category integer, p_id uuid, p_now timestamptz
) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN p_category = 0 THEN ''
        WHEN EXISTS (SELECT FROM suppressions s WHERE s.practice_id = p_practice AND s.token = p_token
                     OR s.practice_id = '00000000-0000-0000-0000-000000000000' AND s.token = p_wide) THEN 'OPTED_OUT'
        WHEN EXISTS (SELECT FROM holds h WHERE h.practice_id = p_practice AND h.token = p_token
                     OR h.practice_id = '00000000-0000-0000-0000-000000000000' AND h.token = p_wide) THEN 'SUSPENDED'
        WHEN NOT EXISTS (SELECT FROM consents c WHERE c.practice_id = p_practice AND c.token = p_token
                         AND c.category = p_category AND c.revoked IS NULL) THEN 'CONSENT_MISSING'
        WHEN p_category = 3 THEN ''
        ELSE (
            SELECT CASE WHEN count(*) FILTER (WHERE m.created > p_now - interval '24 hours') >= 1 THEN 'DAILY_LIMIT'
                        WHEN count(*) >= 3 THEN 'WEEKLY_LIMIT' ELSE '' END
            FROM messages m WHERE m.practice_id = p_practice AND m.token = p_token AND m.category IN (1, 2)
            AND m.state IN (1, 2) AND m.id <> p_id AND m.created > p_now - interval '7 days' AND m.created <= p_now
        )
    END
$$;

-- Whose number a message came in on. A reply must be read before its practice is known.
CREATE FUNCTION campaign_of(p_sender text) RETURNS TABLE (practice_id uuid, brand text, contact text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT c.practice_id, c.brand, c.contact FROM campaigns c WHERE c.sender = p_sender
$$;

-- Whose users got one-time codes at a number: a reply to the installation's own number is theirs to read.
CREATE FUNCTION codes_to(p_wide bytea) RETURNS TABLE (practice_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT DISTINCT m.practice_id FROM messages m WHERE m.wide = p_wide AND m.category = 3
$$;

-- purge_messages forgets the provider's ids after 90 days: no provider repeats a message that late.
-- +goose StatementBegin
CREATE FUNCTION purge_messages(p_now timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    gone bigint;
BEGIN
    DELETE FROM received WHERE created < coalesce(p_now, clock_timestamp()) - interval '90 days';
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone;
END
$$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION text_refusal, campaign_of, codes_to, purge_messages FROM PUBLIC;
GRANT EXECUTE ON FUNCTION text_refusal, campaign_of, codes_to, purge_messages TO auth_app;
