-- +goose Up
-- More columns for filters. Like those before them they follow from the event's bytes, and the
-- verifier holds them to that. NULL stands for no session, device or address. Rows from before
-- have NULL in all of them: `risk IS NULL` marks such a row, and a reader then asks the event
-- itself, so no filter overlooks it.
ALTER TABLE entries
  ADD COLUMN session_id uuid,
  ADD COLUMN device_id uuid,
  ADD COLUMN address inet,
  ADD COLUMN risk smallint,
  ADD COLUMN service smallint,
  ADD COLUMN method text;

-- What an officer looks for first is rare, so that this index is next to nothing for an append.
-- It holds rows without the column too, since their risk is known only to the event.
CREATE INDEX entries_risk ON entries (practice_id, seq) WHERE risk IS NULL OR risk >= 3;

-- How many entries the log held at a moment: the size of the last checkpoint before it. The
-- log's time never runs backwards, so the sizes can be halved until one is left; an index by
-- time would cost every append.
-- +goose StatementBegin
CREATE FUNCTION size_at(moment timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, public, pg_temp
AS $$
DECLARE
  low bigint := 0; -- the size of a checkpoint before the moment, or none
  high bigint := (SELECT coalesce(max(size), 0) FROM checkpoints);
  middle checkpoints%ROWTYPE;
BEGIN
  WHILE low < high LOOP
    -- The last checkpoint of the upper half, counted from its middle.
    SELECT * INTO middle FROM checkpoints WHERE size > low + (high - low) / 2 ORDER BY size LIMIT 1;
    IF middle.append_time < moment THEN
      low := middle.size;
    ELSE
      SELECT coalesce(max(size), 0) INTO high FROM checkpoints WHERE size <= low + (high - low) / 2;
    END IF;
  END LOOP;
  RETURN low;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION size_at(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION size_at(timestamptz) TO audit_app;
