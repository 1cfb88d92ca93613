-- +goose Up
-- What PostgreSQL gives to everybody who can connect unless it is taken back (claim DX-07).
-- The owner's functions and triggers need no right to call them.
REVOKE ALL ON FUNCTION refuse_change(), month_bound(timestamp) FROM PUBLIC;

-- +goose Down
GRANT EXECUTE ON FUNCTION refuse_change(), month_bound(timestamp) TO PUBLIC;
