-- +goose Up
CREATE TABLE outbox (
    id      uuid        PRIMARY KEY, -- version 7: in order of time
    payload bytea       NOT NULL,    -- a serialised carekeep.audit.v1.Batch
    created timestamptz NOT NULL DEFAULT now()
) WITH (
    -- Rows live for milliseconds. Vacuum by number of dead rows, not by share of a table that is nearly empty.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1
);

-- Whoever owns the database is {service}_owner; the service itself is {service}_app.
-- +goose StatementBegin
DO $$
BEGIN
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON outbox TO %I', regexp_replace(current_user, '_owner$', '_app'));
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP TABLE outbox;
