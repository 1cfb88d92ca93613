-- +goose Up

-- What rules found in the log. Each row rests on entries: `seq` made the rule fire, and `first_seq` is the
-- first that it counted. The nil UUID stands for none. Insert-only, like the log.
CREATE TABLE detections (
  id uuid PRIMARY KEY,
  rule text NOT NULL CHECK (length(rule) BETWEEN 1 AND 64),
  practice_id uuid NOT NULL,
  user_id uuid NOT NULL,
  patient_id uuid NOT NULL,
  session_id uuid NOT NULL,
  device_id uuid NOT NULL,
  address text NOT NULL,
  risk smallint NOT NULL CHECK (risk BETWEEN 1 AND 4),
  seq bigint NOT NULL,
  first_seq bigint NOT NULL CHECK (first_seq <= seq),
  count int NOT NULL CHECK (count > 0),
  title text NOT NULL,
  actions text[] NOT NULL,
  create_time timestamptz NOT NULL
);
CREATE INDEX detections_practice ON detections (practice_id, create_time, id);
CREATE INDEX detections_time ON detections (create_time, id);

CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON detections FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

ALTER TABLE detections ENABLE ROW LEVEL SECURITY;
ALTER TABLE detections FORCE ROW LEVEL SECURITY;
CREATE POLICY read_practice ON detections FOR SELECT TO audit_app USING (practice_id = current_setting('carekeep.practice')::uuid);
CREATE POLICY append ON detections FOR INSERT TO audit_app WITH CHECK (true);
CREATE POLICY read_all ON detections FOR SELECT TO CURRENT_ROLE USING (true);
GRANT SELECT, INSERT ON detections TO audit_app;

-- How far the log was held against the rules: the number of the next entry; and which rules those were. Operational state and no evidence, so
-- this one table may be updated. A log that is there already begins at its end; `carekeep audit rules test` looks back.
CREATE TABLE detection_cursor (
  only_one boolean PRIMARY KEY CHECK (only_one),
  seq bigint NOT NULL CHECK (seq >= 0),
  rules text NOT NULL DEFAULT ''
);
INSERT INTO detection_cursor SELECT true, log_end();
GRANT SELECT, UPDATE (seq, rules) ON detection_cursor TO audit_app;

-- Entries of all practices from one number up to, not including, another. Rules count
-- over practices (one address that tries the accounts of many), which the policy of readers
-- rightly forbids; so detection, and nothing that answers a caller, reads through this.
-- +goose StatementBegin
CREATE FUNCTION detect_entries(from_seq bigint, to_seq bigint) RETURNS TABLE (seq bigint, append_time timestamptz, event bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT e.seq, e.append_time, e.event FROM entries e
  WHERE e.seq >= from_seq AND e.seq < to_seq ORDER BY e.seq
$$;
-- +goose StatementEnd

-- What fired since a time, of all practices, with the entries that made it fire: a process that takes
-- over must know of what not to speak again. For detection only, like the function above.
-- +goose StatementBegin
CREATE FUNCTION detected_since(since timestamptz) RETURNS TABLE (rule text, seq bigint, append_time timestamptz, event bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT d.rule, e.seq, e.append_time, e.event FROM detections d JOIN entries e ON e.seq = d.seq
  WHERE d.create_time >= since ORDER BY e.seq, d.rule
$$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION detect_entries(bigint, bigint), detected_since(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION detect_entries(bigint, bigint), detected_since(timestamptz) TO audit_app;

-- +goose Down
DROP FUNCTION detect_entries(bigint, bigint), detected_since(timestamptz);
DROP TABLE detection_cursor, detections;
