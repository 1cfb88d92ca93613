-- Generations of the index have keys of their own, and whoever does the upkeep sees which are not finished.

-- +goose Up

-- The schedule sees in which practices an index is built or dropped (the nil practice, as for key_jobs).
CREATE POLICY schedule ON index_generations FOR SELECT
    USING (current_setting('carekeep.practice')::uuid = '00000000-0000-0000-0000-000000000000' AND state <> 'LIVE');
CREATE INDEX index_generations_unfinished ON index_generations (practice_id) WHERE state <> 'LIVE';

-- A generation has a key, and no key is made for a practice that has left.
CREATE TRIGGER refuse_closed BEFORE INSERT ON index_generations FOR EACH ROW EXECUTE FUNCTION refuse_closed();

-- +goose Down
DROP TRIGGER refuse_closed ON index_generations;
DROP INDEX index_generations_unfinished;
DROP POLICY schedule ON index_generations;
