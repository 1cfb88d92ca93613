-- +goose Up

-- What everybody may read of entries is shown also where retention let them go (00009), so that who
-- verifies the public log from its beginning finds no gap.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION commitments(from_seq bigint, to_seq bigint) RETURNS TABLE (seq bigint, commitment bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT e.seq, sha256(
    substr(bit_send(k.key # ('x' || repeat('5c', 64))::bit(512)), 5) ||
    sha256(substr(bit_send(k.key # ('x' || repeat('36', 64))::bit(512)), 5) || e.event))
  FROM entries e, LATERAL (SELECT ('x' || encode(e.salt, 'hex') || repeat('00', 32))::bit(512) AS key) k
  WHERE e.seq >= from_seq AND e.seq < to_seq
  UNION ALL
  SELECT g.seq, g.commitment FROM gone_commitments(from_seq, to_seq) g
  ORDER BY seq
$$;
-- +goose StatementEnd
