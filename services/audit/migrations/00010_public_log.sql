-- +goose Up

-- What everybody may read of the entries from one number up to, not including, another:
-- HMAC-SHA-256 of the event under its salt. It runs as the owner because it spans all
-- practices, and computes the HMAC here so that neither salts nor events of other practices
-- leave the database: a commitment says nothing about its event. PostgreSQL has no HMAC without an
-- extension; this is RFC 2104 for a key of 32 bytes. bit_send puts the length, 4 bytes, before the bits.
-- +goose StatementBegin
CREATE FUNCTION commitments(from_seq bigint, to_seq bigint) RETURNS TABLE (seq bigint, commitment bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT e.seq, sha256(
    substr(bit_send(k.key # ('x' || repeat('5c', 64))::bit(512)), 5) ||
    sha256(substr(bit_send(k.key # ('x' || repeat('36', 64))::bit(512)), 5) || e.event))
  FROM entries e, LATERAL (SELECT ('x' || encode(e.salt, 'hex') || repeat('00', 32))::bit(512) AS key) k
  WHERE e.seq >= from_seq AND e.seq < to_seq ORDER BY e.seq
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION commitments(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION commitments(bigint, bigint) TO audit_app;

-- What witnesses said about a checkpoint: that it extends all they saw of the log before.
-- `witness` is name and hash of the key, `signature` the whole line of the signed note.
CREATE TABLE cosignatures (
  size bigint NOT NULL REFERENCES checkpoints (size),
  witness text NOT NULL,
  signature text NOT NULL,
  cosign_time timestamptz NOT NULL,
  PRIMARY KEY (witness, size)
);
CREATE INDEX cosignatures_size ON cosignatures (size);
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON cosignatures FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT ON cosignatures TO audit_app;

-- For `carekeep audit verify --database`, under a role that can do nothing but read the log. It reads
-- every practice, which no policy lets it, so the rows come from a function of the owner: all columns
-- as they are stored, from one number up to, not including, another.
-- +goose StatementBegin
CREATE FUNCTION raw_entries(from_seq bigint, to_seq bigint) RETURNS SETOF entries
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT * FROM entries e WHERE e.seq >= from_seq AND e.seq < to_seq ORDER BY e.seq, e.event_id
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION raw_entries(bigint, bigint) FROM PUBLIC;

-- +goose StatementBegin
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'audit_verify') THEN
    RAISE EXCEPTION 'the role audit_verify is missing; run deploy/postgres/roles.sql again';
  END IF;
END
$$;
-- +goose StatementEnd
GRANT SELECT ON tiles, checkpoints, cosignatures TO audit_verify;
GRANT EXECUTE ON FUNCTION raw_entries(bigint, bigint), next_entry(bigint), log_end() TO audit_verify;
