-- +goose Up
-- Reviews of the log: what somebody attested, and the signed note of it. `findings` is sealed.
CREATE TABLE log_reviews (
  id uuid PRIMARY KEY, -- version 7, so that it sorts by time
  practice_id uuid NOT NULL,
  reviewer_id uuid NOT NULL,
  from_seq bigint NOT NULL CHECK (from_seq >= 0),
  to_seq bigint NOT NULL CHECK (to_seq > from_seq),
  root bytea NOT NULL CHECK (length(root) = 32),
  findings text NOT NULL,
  note text NOT NULL,
  create_time timestamptz NOT NULL
);
CREATE INDEX log_reviews_practice ON log_reviews (practice_id, id);
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON log_reviews FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE log_reviews ENABLE ROW LEVEL SECURITY;
ALTER TABLE log_reviews FORCE ROW LEVEL SECURITY;
CREATE POLICY read_practice ON log_reviews FOR SELECT TO audit_app USING (practice_id = current_setting('carekeep.practice')::uuid);
CREATE POLICY append ON log_reviews FOR INSERT TO audit_app WITH CHECK (practice_id = current_setting('carekeep.practice')::uuid);
CREATE POLICY read_all ON log_reviews FOR SELECT TO CURRENT_ROLE USING (true);
GRANT SELECT, INSERT ON log_reviews TO audit_app;

-- The practices that have had neither a review nor an alert about that for longer than they
-- may. It runs as the owner because it has to see all practices, and tells their ids alone. The
-- practices are found by leaping through an index: to list all entries' would read the whole log.
-- +goose StatementBegin
CREATE FUNCTION reviews_due(moment timestamptz, longest interval) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  WITH RECURSIVE practices AS (
    (SELECT practice_id FROM entries ORDER BY practice_id LIMIT 1)
    UNION ALL
    SELECT (SELECT e.practice_id FROM entries e WHERE e.practice_id > p.practice_id ORDER BY e.practice_id LIMIT 1)
    FROM practices p WHERE p.practice_id IS NOT NULL
  )
  SELECT p.practice_id FROM practices p
  WHERE p.practice_id IS NOT NULL AND moment - longest > greatest(
    coalesce(
      (SELECT max(r.create_time) FROM log_reviews r WHERE r.practice_id = p.practice_id),
      (SELECT e.append_time FROM entries e WHERE e.practice_id = p.practice_id ORDER BY e.seq LIMIT 1)),
    (SELECT max(a.create_time) FROM alerts a WHERE a.practice_id = p.practice_id AND a.reason = 'LOG_REVIEW_OVERDUE'))
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION reviews_due(timestamptz, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION reviews_due(timestamptz, interval) TO audit_app;

-- +goose Down
DROP FUNCTION reviews_due(timestamptz, interval);
DROP TABLE log_reviews;
