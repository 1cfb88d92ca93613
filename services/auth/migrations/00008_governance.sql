-- +goose Up

-- Who recorded which training, which agreement and which access review. What
-- admit reads of it stands on users, practices and devices; this is the proof.

ALTER TABLE users
    -- When kind, template or custom role last changed: a training from before does not count (claim DH-08).
    ADD COLUMN role_since timestamptz;
GRANT UPDATE (role_since) ON users TO auth_app;

CREATE TABLE trainings (
    id          uuid PRIMARY KEY,
    practice_id uuid NOT NULL,
    user_id     uuid NOT NULL,
    course      text NOT NULL,
    completed   timestamptz NOT NULL,
    recorded    timestamptz NOT NULL,
    recorded_by uuid NOT NULL,
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);

CREATE TABLE agreements (
    id          uuid PRIMARY KEY,
    practice_id uuid NOT NULL REFERENCES practices,
    version     text NOT NULL,
    signatory   text NOT NULL,
    begins      timestamptz NOT NULL,
    ends        timestamptz NOT NULL,
    recorded    timestamptz NOT NULL,
    recorded_by uuid NOT NULL,
    CHECK (begins < ends)
);

CREATE INDEX agreements_practice ON agreements (practice_id, recorded);

-- The texts of the agreement; the latest is the one to sign.
CREATE TABLE agreement_texts (
    version   text PRIMARY KEY,
    published timestamptz NOT NULL
);

-- Kinds: 1 role, 2 custom role, 3 grant, 4 assignment. Outcomes: 1 confirmed, 2 revoked, 3 lapsed.
CREATE TABLE certification_items (
    id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    practice_id uuid NOT NULL,
    user_id     uuid NOT NULL,
    kind        smallint NOT NULL CHECK (kind BETWEEN 1 AND 4),
    subject     uuid NOT NULL,
    quarter     date NOT NULL,
    due         timestamptz NOT NULL,
    decided     timestamptz,
    decided_by  uuid CHECK (decided_by <> user_id),
    outcome     smallint NOT NULL DEFAULT 0 CHECK (outcome BETWEEN 0 AND 3),
    UNIQUE (practice_id, quarter, user_id, kind, subject),
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);

CREATE INDEX certification_items_due ON certification_items (due) WHERE outcome = 0;

-- The day on which a user last used a permission.
CREATE TABLE permission_use (
    user_id     uuid NOT NULL,
    permission  integer NOT NULL,
    practice_id uuid NOT NULL,
    last_use    date NOT NULL,
    PRIMARY KEY (user_id, permission),
    FOREIGN KEY (practice_id, user_id) REFERENCES users (practice_id, id)
);

-- +goose StatementBegin
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['trainings', 'certification_items', 'permission_use'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', name);
        EXECUTE format('CREATE POLICY practice ON %I TO auth_app USING (practice_id = current_setting(''carekeep.practice'')::uuid)', name);
        EXECUTE format('CREATE POLICY owner ON %I TO CURRENT_USER USING (true)', name);
    END LOOP;
END
$$;
-- +goose StatementEnd

-- As practices: the platform sees all, a practice its own.
ALTER TABLE agreements ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY practice ON agreements TO auth_app USING (
    current_setting('carekeep.practice')::uuid IN (practice_id, '00000000-0000-0000-0000-000000000000'));
CREATE POLICY owner ON agreements TO CURRENT_USER USING (true);

GRANT SELECT, INSERT ON trainings, agreements, agreement_texts TO auth_app;
GRANT SELECT, UPDATE (decided, decided_by, outcome) ON certification_items TO auth_app;
GRANT SELECT ON permission_use TO auth_app;

-- Opens the review of the calendar quarter: what there was before it began.
-- Run as often as one likes, by as many replicas as there are.
-- +goose StatementBegin
CREATE FUNCTION open_certifications(p_now timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    clock timestamptz := coalesce(p_now, clock_timestamp());
    start timestamptz := date_trunc('quarter', clock AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
    opened bigint;
BEGIN
    INSERT INTO certification_items (practice_id, user_id, kind, subject, quarter, due)
    SELECT i.practice_id, i.user_id, i.kind, i.subject, (start AT TIME ZONE 'UTC')::date, clock + interval '14 days' FROM (
        SELECT u.practice_id, u.id AS user_id, 1 AS kind, u.id AS subject, u.created AS since FROM users u WHERE NOT u.disabled
        UNION ALL
        SELECT u.practice_id, u.id, 2, u.role_id, coalesce(u.role_since, u.created) FROM users u WHERE NOT u.disabled AND u.role_id IS NOT NULL
        UNION ALL
        SELECT g.practice_id, g.user_id, 3, g.id, g.decided FROM grants g WHERE g.approved AND g.ended IS NULL AND g.expires > clock
        UNION ALL
        SELECT a.practice_id, a.staff_id, 4, a.doctor_id, a.created FROM assignments a
    ) i WHERE i.since < start
    ORDER BY i.user_id, i.kind, i.subject
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS opened = ROW_COUNT;
    RETURN opened;
END
$$;
-- +goose StatementEnd

-- Takes away what a decided item stands for. A lost role keeps its mask, for the
-- template could hold more, and opens no patient data until somebody confirms it.
-- +goose StatementBegin
CREATE FUNCTION revoke_certified(p_item uuid, p_clock timestamptz) RETURNS void
LANGUAGE sql SET search_path = public, pg_temp AS $$
    UPDATE users u SET certified_until = p_clock FROM certification_items i WHERE i.id = p_item AND i.kind IN (1, 2) AND u.id = i.user_id;
    UPDATE grants g SET ended = p_clock FROM certification_items i WHERE i.id = p_item AND i.kind = 3 AND g.id = i.subject AND g.ended IS NULL;
    DELETE FROM assignments a USING certification_items i WHERE i.id = p_item AND i.kind = 4 AND a.staff_id = i.user_id AND a.doctor_id = i.subject;
$$;
-- +goose StatementEnd

-- Revokes what nobody confirmed in time, and says what that was.
-- +goose StatementBegin
CREATE FUNCTION lapse_certifications(p_now timestamptz)
RETURNS TABLE (id uuid, practice_id uuid, user_id uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    clock timestamptz := coalesce(p_now, clock_timestamp());
    item record;
BEGIN
    FOR item IN
        SELECT i.id, i.practice_id, i.user_id FROM certification_items i WHERE i.outcome = 0 AND i.due <= clock
        ORDER BY i.id LIMIT 200 FOR UPDATE SKIP LOCKED
    LOOP
        UPDATE certification_items i SET outcome = 3, decided = clock WHERE i.id = item.id;
        PERFORM revoke_certified(item.id, clock);
        id := item.id; practice_id := item.practice_id; user_id := item.user_id;
        RETURN NEXT;
    END LOOP;
END
$$;
-- +goose StatementEnd

-- Notes uses from every practice in one statement; rows in the order of their key, so that replicas cannot deadlock.
CREATE FUNCTION note_permission_use(p_users uuid[], p_permissions integer[], p_days date[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO permission_use (user_id, permission, practice_id, last_use)
    SELECT u.id, n.permission, u.practice_id, max(n.day)
    FROM unnest(p_users, p_permissions, p_days) AS n (user_id, permission, day) JOIN users u ON u.id = n.user_id
    GROUP BY u.id, n.permission, u.practice_id ORDER BY u.id, n.permission
    ON CONFLICT (user_id, permission) DO UPDATE SET last_use = greatest(permission_use.last_use, excluded.last_use)
$$;

REVOKE ALL ON FUNCTION open_certifications, revoke_certified, lapse_certifications, note_permission_use FROM PUBLIC;
GRANT EXECUTE ON FUNCTION open_certifications, revoke_certified, lapse_certifications, note_permission_use TO auth_app;
