-- +goose Up

-- Retention of the log (claims DH-47, DH-48, DMD-32). An entry is deleted when its time is over and
-- nothing needs it, after an entry of the log has announced that, and never otherwise, by
-- nobody. Whoever runs it, the rules are those below, and the clock is this database's.

-- Kept forever: what announces deletions (54), without which they could not be told from tampering.
-- Events: security events that name no patient, a closed list: admissions of requests (11), blocks of addresses
-- (22), alerts (28). All else are entries: sign-ins and changes of rights too.
-- +goose StatementBegin
CREATE FUNCTION retention_class(action smallint, patient uuid) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
  SELECT CASE
    WHEN action = 54 THEN 'forever'
    WHEN patient = '00000000-0000-0000-0000-000000000000' AND action IN (11, 22, 28) THEN 'events'
    ELSE 'entries'
  END
$$;
-- +goose StatementEnd

-- When the time of what was appended at a moment is over: entries after the later of 2,555 days and so
-- many calendar years (UTC), events after so many days. Asked for less than the law, it takes the law. From
-- 29 February to a year without one it is 1 March, 00:00, so that it never decreases.
-- +goose StatementBegin
CREATE FUNCTION kept_until(class text, appended timestamptz, years integer DEFAULT 7, days integer DEFAULT 365) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  at timestamp := appended AT TIME ZONE 'UTC';
  whole timestamp := at + make_interval(years => greatest(years, 7));
BEGIN
  IF class = 'events' THEN
    RETURN (at + greatest(days, 365) * interval '24 hours') AT TIME ZONE 'UTC';
  ELSIF class <> 'entries' THEN
    RETURN 'infinity';
  END IF;
  IF extract(day FROM whole) <> extract(day FROM at) THEN
    whole := date_trunc('day', whole) + interval '1 day';
  END IF;
  RETURN greatest(whole, at + 2555 * interval '24 hours') AT TIME ZONE 'UTC';
END
$$;
-- +goose StatementEnd

-- A varint of a protobuf message at an offset, and the offset after it.
-- +goose StatementBegin
CREATE FUNCTION varint(message bytea, at integer, OUT value bigint, OUT next integer)
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  shift integer := 0;
  part integer;
BEGIN
  value := 0;
  next := at;
  LOOP
    part := get_byte(message, next);
    next := next + 1;
    value := value | ((part & 127)::bigint << shift);
    EXIT WHEN part < 128 OR shift = 63;
    shift := shift + 7;
  END LOOP;
END
$$;
-- +goose StatementEnd

-- A text field of an event, by its number in audit/v1/event.proto; null where it is not there.
-- +goose StatementBegin
CREATE FUNCTION event_text(event bytea, field integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  at integer := 0;
  tag bigint;
  size bigint;
  last_found text;
BEGIN
  WHILE at < length(event) LOOP
    SELECT v.value, v.next INTO tag, at FROM varint(event, at) v;
    CASE tag & 7
      WHEN 0 THEN SELECT v.next INTO at FROM varint(event, at) v;
      WHEN 1 THEN at := at + 8;
      WHEN 5 THEN at := at + 4;
      WHEN 2 THEN
        SELECT v.value, v.next INTO size, at FROM varint(event, at) v;
        IF tag >> 3 = field THEN
          last_found := convert_from(substr(event, at + 1, size::integer), 'UTF8');
        END IF;
        at := at + size::integer;
      ELSE RETURN NULL;
    END CASE;
  END LOOP;
  RETURN last_found;
END
$$;
-- +goose StatementEnd

-- Holds on the log: placed by one person, released by another, each a row. The nil practice is the whole log.
CREATE TABLE log_holds (
  hold_id uuid NOT NULL,
  released boolean NOT NULL,
  practice_id uuid NOT NULL,
  reference text NOT NULL CHECK (length(reference) BETWEEN 1 AND 64),
  user_id uuid NOT NULL CHECK (user_id <> '00000000-0000-0000-0000-000000000000'),
  create_time timestamptz NOT NULL,
  PRIMARY KEY (hold_id, released)
);
-- +goose StatementBegin
CREATE FUNCTION check_log_hold() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  placed log_holds%ROWTYPE;
BEGIN
  IF NEW.released THEN
    SELECT * INTO placed FROM log_holds WHERE hold_id = NEW.hold_id AND NOT released;
    IF placed.user_id IS NULL OR (placed.practice_id, placed.reference) <> (NEW.practice_id, NEW.reference) THEN
      RAISE EXCEPTION 'there is no such hold' USING ERRCODE = 'CK004';
    ELSIF placed.user_id = NEW.user_id THEN
      RAISE EXCEPTION 'a hold is released by another person than placed it' USING ERRCODE = 'CK005';
    END IF;
  END IF;
  RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER check_log_hold BEFORE INSERT ON log_holds FOR EACH ROW EXECUTE FUNCTION check_log_hold();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON log_holds FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
GRANT SELECT, INSERT ON log_holds TO audit_app;

-- What was let go, a row for each announcement. To insert a row (of the announcement's event alone, the rest
-- follows) is to delete its members. The row stays, so that exports can tell what is gone and why.
CREATE TABLE let_go (
  seq bigint PRIMARY KEY, -- of the announcement
  event_id uuid NOT NULL UNIQUE,
  class text NOT NULL CHECK (class IN ('entries', 'events')),
  cutoff_time timestamptz NOT NULL,
  members int8multirange NOT NULL,
  -- Of each member, in order, HMAC-SHA-256 of its event under its salt, which is gone: it says nothing of the
  -- event, and the public form of the log goes on without a gap.
  commitments bytea NOT NULL,
  create_time timestamptz NOT NULL
);
CREATE INDEX let_go_members ON let_go USING gist (members);
GRANT SELECT ON let_go TO audit_app, audit_verify;

-- Both are rare among entries, so that they cost an append next to nothing.
CREATE INDEX entries_holds ON entries (seq) WHERE action = 38;
CREATE INDEX entries_events ON entries (seq) WHERE patient_id = '00000000-0000-0000-0000-000000000000' AND action IN (11, 22, 28);

-- What keeps entries beyond their time. Legal holds of records are folded from the entries of their placing
-- and releasing, which a hold itself keeps while it lasts. Ids of patients are unique in all practices.
-- Evidence of incidents is spared in whole ranges, whosever entries lie between.
-- +goose StatementBegin
CREATE FUNCTION spared(OUT everything boolean, OUT practices uuid[], OUT patients uuid[], OUT evidence int8multirange)
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
  evidence := (SELECT coalesce(range_agg(int8range(from_seq, to_seq, '[]')), '{}') FROM incident_evidence);
END
$$;
-- +goose StatementEnd

-- Entries of a class, by number from one up to and including another, that were appended before a cut-off, whose
-- time is over, and that lie under complete tiles, which hold their leaf hashes.
-- +goose StatementBegin
CREATE FUNCTION due_entries(cls text, cutoff timestamptz, first bigint, last bigint)
RETURNS TABLE (seq bigint, practice_id uuid, patient_id uuid, leaf_hash bytea)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  until bigint := least(last + 1, size_at(cutoff), (SELECT coalesce(max(size), 0) / 256 * 256 FROM checkpoints));
BEGIN
  IF cls = 'events' THEN
    RETURN QUERY SELECT e.seq, e.practice_id, e.patient_id, e.leaf_hash FROM entries e
      WHERE e.seq >= first AND e.seq < until AND e.patient_id = '00000000-0000-0000-0000-000000000000' AND e.action IN (11, 22, 28)
      AND e.append_time < cutoff AND kept_until(cls, e.append_time) <= now() ORDER BY e.seq;
  ELSE
    RETURN QUERY SELECT e.seq, e.practice_id, e.patient_id, e.leaf_hash FROM entries e
      WHERE e.seq >= first AND e.seq < until AND retention_class(e.action, e.patient_id) = cls
      AND e.append_time < cutoff AND kept_until(cls, e.append_time) <= now() ORDER BY e.seq;
  END IF;
END
$$;
-- +goose StatementEnd

-- Those of them that nothing spares.
-- +goose StatementBegin
CREATE FUNCTION free_entries(cls text, cutoff timestamptz, first bigint, last bigint) RETURNS TABLE (seq bigint, leaf_hash bytea)
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT d.seq, d.leaf_hash FROM spared() s, due_entries(cls, cutoff, first, last) d
  WHERE NOT s.everything AND d.practice_id <> ALL (s.practices) AND d.patient_id <> ALL (s.patients) AND NOT s.evidence @> d.seq
$$;
-- +goose StatementEnd

-- What was appended before is due by the settings. The hour lets the service's clock, which dates
-- the announcement, be that much behind this one.
-- +goose StatementBegin
CREATE FUNCTION retention_cutoff(cls text, years integer, days integer) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT CASE cls
    WHEN 'events' THEN t.at - greatest(days, 365) * interval '24 hours'
    ELSE least(t.at - 2555 * interval '24 hours', t.at - make_interval(years => greatest(years, 7)))
  END AT TIME ZONE 'UTC'
  FROM (SELECT (now() AT TIME ZONE 'UTC') - interval '1 hour' AS at) t
$$;
-- +goose StatementEnd

-- For a dry run: how many entries of a class are due, and how many of them stay. It counts entries of all
-- practices, so it runs as the owner, and tells numbers only.
-- +goose StatementBegin
CREATE FUNCTION count_due(cls text, years integer, days integer, OUT cutoff timestamptz, OUT due bigint, OUT free bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  cutoff := retention_cutoff(cls, years, days);
  due := (SELECT count(*) FROM due_entries(cls, cutoff, 0, 9223372036854775806));
  free := (SELECT count(*) FROM free_entries(cls, cutoff, 0, 9223372036854775806));
END
$$;
-- +goose StatementEnd

-- The next batch after a number: numbers and leaf hashes, which say nothing of their events. It looks at no more
-- than 40,000 numbers; `next` is where to go on, null at the end.
-- +goose StatementBegin
CREATE FUNCTION next_batch(cls text, cutoff timestamptz, first bigint, most integer, OUT seqs bigint[], OUT leaves bytea[], OUT next bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  begin_seq bigint;
BEGIN
  IF cls = 'events' THEN -- they lie far apart
    begin_seq := (SELECT min(d.seq) FROM entries d
      WHERE d.seq >= first AND d.patient_id = '00000000-0000-0000-0000-000000000000' AND d.action IN (11, 22, 28));
  ELSE
    begin_seq := (SELECT min(d.seq) FROM entries d WHERE d.seq >= first);
  END IF;
  IF begin_seq IS NULL OR begin_seq >= size_at(cutoff) THEN
    seqs := '{}';
    leaves := '{}';
    RETURN;
  END IF;
  SELECT coalesce(array_agg(f.seq ORDER BY f.seq), '{}'), coalesce(array_agg(f.leaf_hash ORDER BY f.seq), '{}') INTO seqs, leaves
  FROM (SELECT * FROM free_entries(cls, cutoff, begin_seq, begin_seq + 39999) ORDER BY seq LIMIT most) f;
  next := CASE WHEN cardinality(seqs) = most THEN seqs[most] + 1 ELSE begin_seq + 40000 END;
END
$$;
-- +goose StatementEnd

-- Fills in a row of let_go from its announcement, and refuses it unless the log says it, the time of all members
-- is over by this clock and by the log's, nothing spares them, and they are exactly those announced.
-- +goose StatementBegin
CREATE FUNCTION check_let_go() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  a entries%ROWTYPE;
  says text[];
  free record;
BEGIN
  -- One at a time, so that no two rows have a member in common.
  PERFORM pg_advisory_xact_lock(hashtextextended('carekeep.audit.retention', 0));
  SELECT * INTO a FROM entries WHERE event_id = NEW.event_id;
  says := regexp_match(event_text(a.event, 40), '^carekeep-retention/1 (entries|events) before (\S+) first (\d+) last (\d+) count (\d+) sha256 ([0-9a-f]{64})$');
  IF says IS NULL OR a.action <> 54 OR a.outcome <> 1 OR a.service IS DISTINCT FROM 4 THEN
    RAISE EXCEPTION 'the audit log is append-only: event % announces no deletion', NEW.event_id USING ERRCODE = 'insufficient_privilege';
  END IF;
  NEW.seq := a.seq;
  NEW.class := says[1];
  NEW.cutoff_time := says[2]::timestamptz;
  NEW.create_time := now();
  IF kept_until(NEW.class, NEW.cutoff_time) > least(now(), a.append_time) THEN
    RAISE EXCEPTION 'the audit log is append-only: what event % announces is deleted before its time', NEW.event_id USING ERRCODE = 'insufficient_privilege';
  END IF;
  SELECT count(*) AS n, min(f.seq) AS first, max(f.seq) AS last, range_agg(int8range(f.seq, f.seq + 1)) AS members,
    sha256(string_agg(int8send(f.seq) || f.leaf_hash, ''::bytea ORDER BY f.seq)) AS digest
  INTO free FROM free_entries(NEW.class, NEW.cutoff_time, says[3]::bigint, says[4]::bigint) f;
  IF free.n = 0 OR (free.n, free.first, free.last, free.digest)
      IS DISTINCT FROM (says[5]::bigint, says[3]::bigint, says[4]::bigint, decode(says[6], 'hex')) THEN
    RAISE EXCEPTION 'what event % announces is not what may go now', NEW.event_id USING ERRCODE = 'CK003';
  END IF;
  NEW.members := free.members;
  NEW.commitments := (
    SELECT string_agg(c.commitment, ''::bytea ORDER BY c.seq) FROM commitments(free.first, free.last + 1) c WHERE free.members @> c.seq);
  RETURN NEW;
END
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION delete_let_go() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  gone bigint[] := ARRAY(SELECT s FROM unnest(NEW.members) AS r, generate_series(lower(r), upper(r) - 1) AS s);
BEGIN
  DELETE FROM entries WHERE seq = ANY (gone);
  DELETE FROM alerts WHERE seq = ANY (gone);
  DELETE FROM parked WHERE seq = ANY (gone);
  RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER check_let_go BEFORE INSERT ON let_go FOR EACH ROW EXECUTE FUNCTION check_let_go();
CREATE TRIGGER delete_let_go AFTER INSERT ON let_go FOR EACH ROW EXECUTE FUNCTION delete_let_go();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON let_go FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The triggers that refuse changes let that one deletion pass: as a statement where it comes from a trigger, as a
-- row where let_go names it and its time is over. On a partition by its own name they refuse all, as before.
-- +goose StatementBegin
CREATE FUNCTION refuse_unless_let_go() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
  IF TG_OP = 'DELETE' AND TG_LEVEL = 'STATEMENT' AND pg_trigger_depth() > 1 THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'DELETE' AND TG_LEVEL = 'ROW' THEN
    IF TG_TABLE_NAME IN ('alerts', 'parked') THEN
      IF EXISTS (SELECT FROM let_go g WHERE g.members @> OLD.seq) THEN
        RETURN OLD;
      END IF;
    ELSIF kept_until(retention_class(OLD.action, OLD.patient_id), OLD.append_time) <= now()
        AND EXISTS (SELECT FROM let_go g WHERE g.members @> OLD.seq AND g.class = retention_class(OLD.action, OLD.patient_id)) THEN
      RETURN OLD;
    END IF;
  END IF;
  RAISE EXCEPTION 'the audit log is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'insufficient_privilege';
END
$$;
-- +goose StatementEnd
-- +goose StatementBegin
DO $$
DECLARE
  t text;
BEGIN
  FOREACH t IN ARRAY ARRAY['entries', 'alerts', 'parked'] LOOP
    EXECUTE format('DROP TRIGGER refuse_change ON %I', t);
    EXECUTE format('CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_unless_let_go()', t);
    EXECUTE format('DROP TRIGGER IF EXISTS refuse_row_change ON %I', t);
    EXECUTE format('CREATE TRIGGER refuse_row_change BEFORE UPDATE OR DELETE ON %I FOR EACH ROW EXECUTE FUNCTION refuse_unless_let_go()', t);
  END LOOP;
END
$$;
-- +goose StatementEnd
CREATE POLICY let_go ON entries FOR DELETE TO CURRENT_ROLE USING (true);
CREATE POLICY let_go_read ON alerts FOR SELECT TO CURRENT_ROLE USING (true);
CREATE POLICY let_go ON alerts FOR DELETE TO CURRENT_ROLE USING (true);
CREATE INDEX parked_seq ON parked (seq);

-- Carries out what an entry announced, and returns how many entries that were. The service has no grant
-- to delete; this does what let_go's triggers allow, and runs as the owner for it.
-- +goose StatementBegin
CREATE FUNCTION let_go_of(announcement uuid) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  n bigint;
BEGIN
  INSERT INTO let_go (event_id) VALUES (announcement)
  RETURNING (SELECT sum(upper(r) - lower(r)) FROM unnest(members) AS r) INTO n;
  RETURN n;
END
$$;
-- +goose StatementEnd

-- Months that ended more than a year ago and have a partition without rows.
-- +goose StatementBegin
CREATE FUNCTION empty_months() RETURNS SETOF date
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  month date;
BEGIN
  FOR month IN
    SELECT to_date(c.relname, '"entries_"YYYY_MM') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'public.entries'::regclass AND c.relname ~ '^entries_\d{4}_\d{2}$' ORDER BY 1
  LOOP
    -- Asked of the parent: a partition has no policies, and under its own name shows nothing to anybody.
    IF month + interval '1 month' + interval '366 days' < now() AT TIME ZONE 'UTC' AND NOT EXISTS (
      SELECT FROM entries WHERE event_id >= month_bound(month) AND event_id < month_bound(month + interval '1 month')) THEN
      RETURN NEXT month;
    END IF;
  END LOOP;
END
$$;
-- +goose StatementEnd

-- Detaches and drops the partition of such a month; false where there is a row again. It gives up (55P03) where
-- readers and the writer do not leave the table for two seconds: they must not wait behind it.
-- +goose StatementBegin
CREATE FUNCTION drop_month(month date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '2s'
AS $$
DECLARE
  part text := 'entries_' || to_char(month, 'YYYY_MM');
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('carekeep.audit.partition', 0));
  LOCK TABLE entries IN ACCESS EXCLUSIVE MODE;
  IF NOT EXISTS (SELECT FROM empty_months() AS e(m) WHERE e.m = month) THEN
    RETURN false;
  END IF;
  EXECUTE format('ALTER TABLE public.entries DETACH PARTITION public.%I', part);
  EXECUTE format('DROP TABLE public.%I', part);
  RETURN true;
END
$$;
-- +goose StatementEnd

-- The leaf hashes of what was let go, from one number up to, not including, another, and who announced it.
-- +goose StatementBegin
CREATE FUNCTION gone_leaves(from_seq bigint, to_seq bigint) RETURNS TABLE (seq bigint, announcement bigint, leaf_hash bytea)
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT s, g.seq, substr(t.hashes, (s % 256)::integer * 32 + 1, 32)
  FROM let_go g, unnest(g.members * int8multirange(int8range(from_seq, to_seq))) AS r, generate_series(lower(r), upper(r) - 1) AS s
  JOIN tiles t ON t.level = 0 AND t.idx = s / 256
  WHERE g.members && int8range(from_seq, to_seq) ORDER BY s
$$;
-- +goose StatementEnd

-- The commitments of what was let go, likewise.
-- +goose StatementBegin
CREATE FUNCTION gone_commitments(from_seq bigint, to_seq bigint) RETURNS TABLE (seq bigint, commitment bytea)
LANGUAGE sql STABLE SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT m.s, substr(g.commitments, (m.place - 1)::integer * 32 + 1, 32)
  FROM let_go g, LATERAL (
    SELECT s, row_number() OVER (ORDER BY s) AS place FROM unnest(g.members) AS r, generate_series(lower(r), upper(r) - 1) AS s) m
  WHERE g.members && int8range(from_seq, to_seq) AND m.s >= from_seq AND m.s < to_seq ORDER BY m.s
$$;
-- +goose StatementEnd

-- Whether deleted or not, a leaf is a leaf: of those that were let go it is in its tile, and nobody's.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION leaves(from_seq bigint, to_seq bigint) RETURNS TABLE (seq bigint, practice_id uuid, leaf_hash bytea)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp
AS $$
  SELECT e.seq, e.practice_id, e.leaf_hash FROM entries e WHERE e.seq >= from_seq AND e.seq < to_seq
  UNION ALL
  SELECT g.seq, '00000000-0000-0000-0000-000000000000', g.leaf_hash FROM gone_leaves(from_seq, to_seq) g
  ORDER BY seq
$$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION retention_class(smallint, uuid), kept_until(text, timestamptz, integer, integer), varint(bytea, integer), event_text(bytea, integer),
  check_log_hold(), spared(), due_entries(text, timestamptz, bigint, bigint), free_entries(text, timestamptz, bigint, bigint),
  retention_cutoff(text, integer, integer), count_due(text, integer, integer), next_batch(text, timestamptz, bigint, integer), check_let_go(), delete_let_go(),
  refuse_unless_let_go(), gone_commitments(bigint, bigint), let_go_of(uuid), empty_months(), drop_month(date), gone_leaves(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION retention_cutoff(text, integer, integer), count_due(text, integer, integer), next_batch(text, timestamptz, bigint, integer), let_go_of(uuid), empty_months(), drop_month(date),
  gone_leaves(bigint, bigint) TO audit_app;
GRANT EXECUTE ON FUNCTION gone_leaves(bigint, bigint) TO audit_verify;
