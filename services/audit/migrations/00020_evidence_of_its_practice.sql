-- +goose Up

-- Evidence spares the entries of its incident's own practice only: an officer of one practice must not be able to
-- keep those of all others. Registers keep every row, so ranges that were stored before the service
-- bounded them are cut here: [n, 9223372036854775807] has no end that an int8range could hold.
DROP FUNCTION spared();

-- What keeps entries beyond their time, but for evidence. Legal holds of records are folded from the entries of
-- their placing and releasing, which a hold itself keeps while it lasts. Ids of patients are unique in all practices.
-- +goose StatementBegin
CREATE FUNCTION spared(OUT everything boolean, OUT practices uuid[], OUT patients uuid[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  nobody constant uuid := '00000000-0000-0000-0000-000000000000';
BEGIN
  WITH changes AS (
    SELECT practice_id, patient_id, event_text(event, 8) AS method, event_text(event, 15) AS hold FROM entries WHERE action = 38 AND outcome = 1
  ), held AS (
    SELECT p.practice_id, p.patient_id FROM changes p
    WHERE p.method = '/carekeep.records.v1.LifecycleService/PlaceLegalHold' AND NOT EXISTS (
      SELECT FROM changes r WHERE r.method = '/carekeep.records.v1.LifecycleService/ReleaseLegalHold' AND r.practice_id = p.practice_id AND r.hold = p.hold)
    UNION ALL
    SELECT p.practice_id, nobody FROM log_holds p
    WHERE NOT p.released AND NOT EXISTS (SELECT FROM log_holds r WHERE r.hold_id = p.hold_id AND r.released)
  )
  SELECT coalesce(bool_or(practice_id = nobody), false),
    coalesce(array_agg(DISTINCT practice_id) FILTER (WHERE patient_id = nobody), '{}'),
    coalesce(array_agg(DISTINCT patient_id) FILTER (WHERE patient_id <> nobody), '{}')
  INTO everything, practices, patients FROM held;
END
$$;
-- +goose StatementEnd

-- What evidence spares, by practice.
-- +goose StatementBegin
CREATE FUNCTION spared_evidence() RETURNS TABLE (practice_id uuid, ranges int8multirange)
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT v.practice_id, range_agg(int8range(v.from_seq, least(v.to_seq, 9223372036854775806) + 1))
  FROM incident_evidence v WHERE v.from_seq < 9223372036854775807 GROUP BY v.practice_id
$$;
-- +goose StatementEnd

-- Those of the entries that are due that nothing spares.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION free_entries(cls text, cutoff timestamptz, first bigint, last bigint) RETURNS TABLE (seq bigint, leaf_hash bytea)
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT d.seq, d.leaf_hash FROM spared() s, due_entries(cls, cutoff, first, last) d LEFT JOIN spared_evidence() v ON v.practice_id = d.practice_id
  WHERE NOT s.everything AND d.practice_id <> ALL (s.practices) AND d.patient_id <> ALL (s.patients) AND (v.ranges @> d.seq) IS NOT TRUE
$$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION spared(), spared_evidence() FROM PUBLIC;
