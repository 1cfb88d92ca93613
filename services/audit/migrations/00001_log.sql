-- +goose Up

-- The log. `event` holds the bytes that `leaf_hash` commits to under `salt`; the columns
-- before them follow from those bytes and serve filters only. The nil UUID stands for
-- nobody, no patient, no practice. Event ids are UUIDv7, which sort by time, so that one
-- partition holds a month of them and an id is unique in the whole log.
CREATE TABLE entries (
  seq bigint NOT NULL CHECK (seq >= 0),
  event_id uuid NOT NULL,
  practice_id uuid NOT NULL,
  user_id uuid NOT NULL,
  patient_id uuid NOT NULL,
  action smallint NOT NULL,
  outcome smallint NOT NULL,
  event_time timestamptz NOT NULL,
  append_time timestamptz NOT NULL,
  salt bytea NOT NULL CHECK (length(salt) = 32),
  event bytea NOT NULL,
  leaf_hash bytea NOT NULL CHECK (length(leaf_hash) = 32)
) PARTITION BY RANGE (event_id);

CREATE UNIQUE INDEX entries_event_id ON entries (event_id);
-- That a number is unique across partitions as well follows from the chain of checkpoints.
CREATE UNIQUE INDEX entries_seq ON entries (seq, event_id);
CREATE INDEX entries_practice ON entries (practice_id, seq);
CREATE INDEX entries_patient ON entries (practice_id, patient_id, seq);
CREATE INDEX entries_user ON entries (practice_id, user_id, seq);

-- Complete tiles of the Merkle tree: 256 hashes of one level, and their root.
CREATE TABLE tiles (
  level smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
  idx bigint NOT NULL CHECK (idx >= 0),
  root bytea NOT NULL CHECK (length(root) = 32),
  hashes bytea NOT NULL CHECK (length(hashes) = 8192),
  PRIMARY KEY (level, idx)
);
-- Hashes do not compress.
ALTER TABLE tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

-- Signed tree heads. Each extends the one before it, and each is extended once: two
-- writers that both believed to be the only one could not both commit.
CREATE TABLE checkpoints (
  size bigint PRIMARY KEY CHECK (size > 0),
  from_size bigint UNIQUE NULLS NOT DISTINCT REFERENCES checkpoints (size) CHECK (from_size < size),
  root bytea NOT NULL CHECK (length(root) = 32),
  note text NOT NULL,
  append_time timestamptz NOT NULL
);

CREATE TABLE alerts (
  seq bigint NOT NULL,
  reason text NOT NULL,
  practice_id uuid NOT NULL,
  risk smallint NOT NULL CHECK (risk BETWEEN 1 AND 4),
  create_time timestamptz NOT NULL,
  PRIMARY KEY (seq, reason)
);
CREATE INDEX alerts_practice ON alerts (practice_id, seq);

-- Messages that could not be taken into the log, kept as they came. `seq` is the entry
-- that reports it. Only the owner can read the payload.
CREATE TABLE parked (
  digest bytea PRIMARY KEY CHECK (length(digest) = 32),
  seq bigint NOT NULL,
  subject text NOT NULL,
  reason text NOT NULL,
  payload bytea NOT NULL,
  park_time timestamptz NOT NULL
);

-- Nothing is ever changed or removed, by nobody: the service lacks the grants, and the
-- owner is refused here. (A superuser can switch triggers off; the signatures find that.)
-- +goose StatementBegin
CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
  RAISE EXCEPTION 'the audit log is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'insufficient_privilege';
END
$$;
-- +goose StatementEnd

CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON entries FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON tiles FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON checkpoints FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON alerts FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON parked FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- A row trigger is cloned to every partition by PostgreSQL itself, however it was made.
CREATE TRIGGER refuse_row_change BEFORE UPDATE OR DELETE ON entries FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Readers see one practice. The appender writes for all of them; it checks no policy of
-- reading because it neither returns rows nor names a conflict target.
ALTER TABLE entries ENABLE ROW LEVEL SECURITY;
ALTER TABLE entries FORCE ROW LEVEL SECURITY;
ALTER TABLE alerts ENABLE ROW LEVEL SECURITY;
ALTER TABLE alerts FORCE ROW LEVEL SECURITY;
CREATE POLICY read_practice ON entries FOR SELECT TO audit_app USING (practice_id = current_setting('carekeep.practice')::uuid);
CREATE POLICY read_practice ON alerts FOR SELECT TO audit_app USING (practice_id = current_setting('carekeep.practice')::uuid);
CREATE POLICY append ON entries FOR INSERT TO audit_app WITH CHECK (true);
CREATE POLICY append ON alerts FOR INSERT TO audit_app WITH CHECK (true);
-- The functions below run as the owner.
CREATE POLICY read_all ON entries FOR SELECT TO CURRENT_ROLE USING (true);

-- The smallest UUIDv7 of a month in UTC, or of anything after it.
-- +goose StatementBegin
CREATE FUNCTION month_bound(month timestamp) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
  SELECT rpad(lpad(to_hex((extract(epoch FROM month) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;
-- +goose StatementEnd

-- Makes the partition of a month unless it exists. There is no default partition: to
-- attach beside one takes a lock that waits for every reader. The appender calls this first.
-- +goose StatementBegin
CREATE FUNCTION ensure_partition(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  first date := date_trunc('month', month)::date;
  part text := 'entries_' || to_char(first, 'YYYY_MM');
BEGIN
  IF first < date '2020-01-01' OR first > now() + interval '3 months' THEN
    RAISE EXCEPTION 'no partition is made for %', first;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtextextended('carekeep.audit.partition', 0));
  IF to_regclass('public.' || part) IS NOT NULL THEN
    RETURN;
  END IF;
  EXECUTE format('CREATE TABLE public.%I (LIKE public.entries INCLUDING ALL)', part);
  EXECUTE format('CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON public.%I FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change()', part);
  -- Without policies of its own a partition shows nothing to whoever names it directly.
  EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', part);
  EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', part);
  EXECUTE format('ALTER TABLE public.entries ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
    part, public.month_bound(first), public.month_bound(first + interval '1 month'));
END
$$;
-- +goose StatementEnd

-- Which of these events the log holds already, of whatever practice. Statistics of a
-- table that grows this fast are always behind, so the planner is told to use the index.
-- +goose StatementBegin
CREATE FUNCTION known_events(ids uuid[]) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET enable_seqscan = off
AS $$
  SELECT event_id FROM entries WHERE event_id = ANY (ids)
$$;
-- +goose StatementEnd

-- The leaves from one number up to, not including, another: salted commitments of all
-- practices, which say nothing about their events.
-- +goose StatementBegin
CREATE FUNCTION leaves(from_seq bigint, to_seq bigint) RETURNS TABLE (seq bigint, practice_id uuid, leaf_hash bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT e.seq, e.practice_id, e.leaf_hash FROM entries e
  WHERE e.seq >= from_seq AND e.seq < to_seq ORDER BY e.seq
$$;
-- +goose StatementEnd

-- The number that the next entry gets.
-- +goose StatementBegin
CREATE FUNCTION log_end() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT coalesce(max(seq) + 1, 0) FROM entries
$$;
-- +goose StatementEnd

-- The first entry from a number on, or null.
-- +goose StatementBegin
CREATE FUNCTION next_entry(from_seq bigint) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT min(seq) FROM entries WHERE seq >= from_seq
$$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION ensure_partition(date), known_events(uuid[]), leaves(bigint, bigint), log_end(), next_entry(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ensure_partition(date), known_events(uuid[]), leaves(bigint, bigint), log_end(), next_entry(bigint) TO audit_app;

-- Insert and select, nothing else, and no grant on any partition.
GRANT SELECT, INSERT ON entries, tiles, checkpoints, alerts TO audit_app;
GRANT INSERT, SELECT (digest) ON parked TO audit_app;
