-- +goose Up

-- Incidents (claims DH-10, DH-51) and breaches (DH-52). Both are registers: a row is something
-- that happened, nobody changes it, and what is so now follows from the rows. Texts that people
-- wrote are sealed in transit; facts hold ids, times, counts and names of enums, and no patient's data.
CREATE TABLE incident_steps (
  subject_id uuid NOT NULL, -- the incident, a UUIDv7
  version integer NOT NULL CHECK (version BETWEEN 1 AND 10000),
  step_id uuid NOT NULL UNIQUE, -- what `sealed` is bound to
  practice_id uuid NOT NULL,
  kind smallint NOT NULL CHECK (kind > 0), -- as in audit.v1.IncidentStep
  user_id uuid NOT NULL, -- nil for the service itself
  create_time timestamptz NOT NULL,
  facts jsonb NOT NULL,
  sealed text NOT NULL CHECK (sealed = '' OR sealed LIKE 'vault:v%'),
  -- Two people who act on the same state ask for the same version, and one of them looks again.
  PRIMARY KEY (subject_id, version)
);
-- Lists: the first step of each, newest first.
CREATE INDEX incident_steps_practice ON incident_steps (practice_id, subject_id) WHERE version = 1;

-- Entries that an incident rests on, both ends included. Retention spares them.
CREATE TABLE incident_evidence (
  incident_id uuid NOT NULL,
  practice_id uuid NOT NULL,
  from_seq bigint NOT NULL CHECK (from_seq >= 0),
  to_seq bigint NOT NULL CHECK (to_seq >= from_seq),
  PRIMARY KEY (incident_id, from_seq, to_seq)
);

-- The same for breaches; kinds are those of audit.v1.BreachStep.
CREATE TABLE breach_steps (LIKE incident_steps INCLUDING ALL);

-- Whom a breach has to be told: ids of patients and nothing else of them.
CREATE TABLE breach_recipients (
  breach_id uuid NOT NULL,
  patient_id uuid NOT NULL,
  practice_id uuid NOT NULL,
  create_time timestamptz NOT NULL,
  PRIMARY KEY (breach_id, patient_id)
);

-- What became of a letter, kinds as in audit.v1.Delivery. The proof (a postal number, a reference)
-- is sealed.
CREATE TABLE breach_deliveries (
  delivery_id uuid PRIMARY KEY,
  breach_id uuid NOT NULL,
  patient_id uuid NOT NULL,
  practice_id uuid NOT NULL,
  kind smallint NOT NULL CHECK (kind > 0),
  user_id uuid NOT NULL,
  create_time timestamptz NOT NULL,
  sealed text NOT NULL CHECK (sealed = '' OR sealed LIKE 'vault:v%'),
  FOREIGN KEY (breach_id, patient_id) REFERENCES breach_recipients (breach_id, patient_id)
);
CREATE INDEX breach_deliveries_patient ON breach_deliveries (breach_id, patient_id, delivery_id);

-- What the service has to tell somebody by itself: a missed clock, an escalation. Delivery reads
-- it by (create_time, notice_id). An entry of the log has the notice's id.
CREATE TABLE incident_notices (
  notice_id uuid PRIMARY KEY,
  practice_id uuid NOT NULL,
  subject text NOT NULL, -- "incidents/{uuid}" or "breaches/{uuid}"
  reason text NOT NULL,
  detail text NOT NULL,
  recipient text NOT NULL, -- by name in the configuration; empty for whoever gets alerts
  risk smallint NOT NULL CHECK (risk BETWEEN 1 AND 4),
  due_time timestamptz NOT NULL,
  create_time timestamptz NOT NULL,
  UNIQUE (subject, reason, detail)
);
CREATE INDEX incident_notices_create_time ON incident_notices (create_time, notice_id);

-- How far the sweep has read alerts. Operational, so it is updated; to lose it opens nothing twice,
-- since an open incident of a rule takes what the rule brings.
CREATE TABLE incident_cursors (
  source text PRIMARY KEY,
  seq bigint NOT NULL,
  detail text NOT NULL
);

CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON incident_steps FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON incident_evidence FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON breach_steps FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON breach_recipients FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON breach_deliveries FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON incident_notices FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- One practice at a time, for reading and writing. The functions below run as the owner.
-- +goose StatementBegin
DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['incident_steps', 'incident_evidence', 'breach_steps', 'breach_recipients', 'breach_deliveries', 'incident_notices'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
    EXECUTE format('CREATE POLICY read_practice ON %I FOR SELECT TO audit_app USING (practice_id = current_setting(''carekeep.practice'')::uuid)', t);
    EXECUTE format('CREATE POLICY append ON %I FOR INSERT TO audit_app WITH CHECK (practice_id = current_setting(''carekeep.practice'')::uuid)', t);
    EXECUTE format('CREATE POLICY read_all ON %I FOR SELECT TO CURRENT_ROLE USING (true)', t);
    EXECUTE format('GRANT SELECT, INSERT ON %I TO audit_app', t);
  END LOOP;
END
$$;
-- +goose StatementEnd
CREATE POLICY read_all ON alerts FOR SELECT TO CURRENT_ROLE USING (true);
GRANT SELECT, INSERT, UPDATE ON incident_cursors TO audit_app;

-- What the sweep of clocks has to look at, of all practices: ids only. Incidents that are not closed (12),
-- or have corrective actions (10) that are not done (11).
-- +goose StatementBegin
CREATE FUNCTION unfinished_incidents() RETURNS TABLE (subject_id uuid, practice_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT s.subject_id, s.practice_id FROM incident_steps s GROUP BY s.subject_id, s.practice_id
  HAVING NOT bool_or(s.kind = 12) OR count(*) FILTER (WHERE s.kind = 10) > count(*) FILTER (WHERE s.kind = 11)
  ORDER BY s.subject_id
$$;
-- +goose StatementEnd

-- Breaches of all practices that are not closed (kind 1 opens, 100 closes): ids only.
-- +goose StatementBegin
CREATE FUNCTION unfinished_breaches() RETURNS TABLE (subject_id uuid, practice_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT s.subject_id, s.practice_id FROM breach_steps s GROUP BY s.subject_id, s.practice_id
  HAVING NOT bool_or(s.kind = 100) ORDER BY s.subject_id
$$;
-- +goose StatementEnd

-- Critical alerts of all practices after a place in their order: what opens incidents by itself.
-- +goose StatementBegin
CREATE FUNCTION critical_alerts(after_seq bigint, after_reason text, most integer)
RETURNS TABLE (seq bigint, reason text, practice_id uuid)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT a.seq, a.reason, a.practice_id FROM alerts a
  WHERE (a.seq, a.reason) > (after_seq, after_reason) AND a.risk = 4 ORDER BY a.seq, a.reason LIMIT most
$$;
-- +goose StatementEnd

-- Notices of all practices since a time, for those of them that the log does not hold yet.
-- +goose StatementBegin
CREATE FUNCTION notices_since(since timestamptz) RETURNS SETOF incident_notices
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT * FROM incident_notices n WHERE n.create_time >= since ORDER BY n.create_time, n.notice_id
$$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION unfinished_incidents(), unfinished_breaches(), critical_alerts(bigint, text, integer), notices_since(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION unfinished_incidents(), unfinished_breaches(), critical_alerts(bigint, text, integer), notices_since(timestamptz) TO audit_app;

-- +goose Down
DROP FUNCTION notices_since(timestamptz), critical_alerts(bigint, text, integer), unfinished_breaches(), unfinished_incidents();
DROP POLICY read_all ON alerts;
DROP TABLE incident_cursors, incident_notices, breach_deliveries, breach_recipients, breach_steps, incident_evidence, incident_steps;
