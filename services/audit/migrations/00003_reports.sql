-- +goose Up

-- Reports of vulnerabilities (claim DMD-34), the first of the compliance registers. A register
-- is rows of what happened, each inserted and never changed; what is so now follows from them.

-- A report as it was received, which is its first step. What the reporter wrote, and how to reach
-- them, is sealed under transit's key audit-reports. The times are those of the clock that
-- was promised to the reporter: settings that change later do not move it.
CREATE TABLE vulnerability_reports (
  id uuid PRIMARY KEY,
  create_time timestamptz NOT NULL,
  network text NOT NULL CHECK (length(network) <= 64),
  secret_hash bytea NOT NULL CHECK (length(secret_hash) = 32),
  near_time timestamptz NOT NULL CHECK (near_time > create_time),
  due_time timestamptz NOT NULL CHECK (due_time > near_time),
  sealed text NOT NULL CHECK (sealed LIKE 'vault:v%')
);
-- How many came of late, of a network and of all.
CREATE INDEX vulnerability_reports_network ON vulnerability_reports (network, create_time);
CREATE INDEX vulnerability_reports_create_time ON vulnerability_reports (create_time);
CREATE INDEX vulnerability_reports_near_time ON vulnerability_reports (near_time);

-- What happened to it after that. Kinds and severities count as in audit.v1.ReportStep. Two people who act
-- on the same state ask for the same version, and one of them is refused.
CREATE TABLE vulnerability_steps (
  report_id uuid NOT NULL REFERENCES vulnerability_reports (id),
  version integer NOT NULL CHECK (version BETWEEN 2 AND 500),
  kind smallint NOT NULL CHECK (kind BETWEEN 2 AND 6),
  severity smallint NOT NULL CHECK (severity BETWEEN 0 AND 4 AND (severity > 0) = (kind = 3)),
  user_id uuid NOT NULL,
  create_time timestamptz NOT NULL,
  sealed text NOT NULL CHECK (sealed = '' OR sealed LIKE 'vault:v%'),
  PRIMARY KEY (report_id, version)
);

-- Alerts that the log holds already: 1 nearly due, 2 overdue.
CREATE TABLE vulnerability_notices (
  report_id uuid NOT NULL REFERENCES vulnerability_reports (id),
  level smallint NOT NULL CHECK (level BETWEEN 1 AND 2),
  create_time timestamptz NOT NULL,
  PRIMARY KEY (report_id, level)
);

CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON vulnerability_reports FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON vulnerability_steps FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON vulnerability_notices FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

GRANT SELECT, INSERT ON vulnerability_reports, vulnerability_steps, vulnerability_notices TO audit_app;

-- +goose Down
DROP TABLE vulnerability_notices, vulnerability_steps, vulnerability_reports;
