-- +goose Up

-- Which outbox rows came, as each group of entries was appended: in the same transaction, so that
-- a row is here exactly when its events are in the log. Numbers mostly follow each other, so a
-- group is one row for each process whose rows it holds.
CREATE TABLE outbox_arrivals (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- in order of commit: there is one writer
  service smallint NOT NULL,
  epoch uuid NOT NULL, -- of the process, see audit.v1.Row
  numbers int8multirange NOT NULL, -- the rows that came
  claimed int8multirange NOT NULL, -- what these rows say was committed before them
  events integer NOT NULL CHECK (events >= 0), -- in them, new or not
  append_time timestamptz NOT NULL
);
CREATE INDEX outbox_arrivals_epoch ON outbox_arrivals (service, epoch, id);

-- What the sweep found. An entry of the log has the finding's id.
CREATE TABLE outbox_findings (
  finding_id uuid PRIMARY KEY,
  reason text NOT NULL,
  service smallint NOT NULL,
  epoch uuid NOT NULL,
  numbers int8multirange NOT NULL, -- empty where it is not about rows
  create_time timestamptz NOT NULL
);
CREATE INDEX outbox_findings_create_time ON outbox_findings (create_time);

-- How many calls each process of a service says it served, by the minute they began in.
CREATE TABLE served_calls (
  service smallint NOT NULL,
  epoch uuid NOT NULL,
  minute bigint NOT NULL, -- since 1970
  method text NOT NULL,
  calls bigint NOT NULL CHECK (calls > 0),
  PRIMARY KEY (minute, service, method, epoch)
);

-- What the sweep has worked out from arrivals and heartbeats. Operational, so it is updated. A lost
-- row is worked out again from the arrivals, except for what only heartbeats claimed.
CREATE TABLE outbox_epochs (
  service smallint NOT NULL,
  epoch uuid NOT NULL,
  arrived int8multirange NOT NULL,
  claimed int8multirange NOT NULL,
  told int8multirange NOT NULL, -- a finding tells of them
  missing int8multirange NOT NULL, -- claimed and not arrived
  missing_time timestamptz NOT NULL, -- since then
  denied int8multirange NOT NULL, -- arrived, and the process knows nothing of it
  denied_time timestamptz NOT NULL,
  beat_time timestamptz NOT NULL, -- of the last heartbeat; year 1 where there was none
  late boolean NOT NULL,
  silent boolean NOT NULL,
  ended boolean NOT NULL, -- it said goodbye
  PRIMARY KEY (service, epoch)
);
-- How far the sweep has read arrivals.
CREATE TABLE outbox_cursor (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  id bigint NOT NULL
);
INSERT INTO outbox_cursor (id) VALUES (0);

CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON outbox_arrivals FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON outbox_findings FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON served_calls FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT ON outbox_arrivals, outbox_findings, served_calls TO audit_app;
GRANT SELECT, INSERT, UPDATE ON outbox_epochs TO audit_app;
GRANT SELECT, UPDATE ON outbox_cursor TO audit_app;

-- +goose Down
DROP TABLE outbox_cursor, outbox_epochs, served_calls, outbox_findings, outbox_arrivals;
