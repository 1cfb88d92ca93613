-- +goose Up

-- What is still to be done about detections, and what became of it: one row for each target (auth, or a
-- webhook) and action. It is the state of a queue and no evidence (that is in the log and at auth), so these
-- columns may be updated. A detection without a row was not looked at yet; one that asks for nothing has a row with no target.
CREATE TABLE responses (
  detection_id uuid NOT NULL REFERENCES detections,
  target text NOT NULL CHECK (length(target) <= 80),
  action text NOT NULL CHECK (length(action) <= 40),
  tries int NOT NULL DEFAULT 0,
  due timestamptz NOT NULL,
  -- When it is given up.
  ends timestamptz NOT NULL,
  done timestamptz,
  outcome text NOT NULL DEFAULT '',
  PRIMARY KEY (detection_id, target, action)
);
CREATE INDEX responses_due ON responses (target, due) WHERE done IS NULL;
GRANT SELECT, INSERT, UPDATE (tries, due, done, outcome) ON responses TO audit_app;

-- Detections of all practices since a time that nobody has looked at, oldest first, each with the entry that made
-- its rule fire. Like those that detect, it serves the process that responds, and nothing that answers a caller.
-- +goose StatementBegin
CREATE FUNCTION unanswered_detections(since timestamptz, most int) RETURNS TABLE (detection detections, event bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT d, e.event FROM detections d JOIN entries e ON e.seq = d.seq
  WHERE d.create_time >= since AND NOT EXISTS (SELECT FROM responses r WHERE r.detection_id = d.id)
  ORDER BY d.create_time, d.id LIMIT most
$$;
-- +goose StatementEnd

-- The detections of these ids, of all practices, each with that entry.
-- +goose StatementBegin
CREATE FUNCTION detections_of(ids uuid[]) RETURNS TABLE (detection detections, event bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT d, e.event FROM detections d JOIN entries e ON e.seq = d.seq WHERE d.id = ANY (ids)
$$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION unanswered_detections(timestamptz, int), detections_of(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION unanswered_detections(timestamptz, int), detections_of(uuid[]) TO audit_app;

-- +goose Down
DROP FUNCTION unanswered_detections(timestamptz, int), detections_of(uuid[]);
DROP TABLE responses;
