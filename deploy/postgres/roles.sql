-- Roles and databases of carekeep, for a platform team to run once with psql as
-- a superuser, and again at any time: every statement is idempotent.
--
--   psql -X -v ON_ERROR_STOP=1 -f roles.sql "host=… dbname=postgres …"
--
-- Each service has one database and two roles. {service}_owner owns the
-- database and runs migrations; {service}_app is what the service itself uses:
-- it owns nothing, cannot bypass row-level security, and gets its grants on
-- tables from the service's own migrations. Roles have no passwords: clients
-- prove themselves with certificates (see pg_hba.conf and pg_ident.conf).
-- audit_verify is for whoever verifies the log in the database itself; it can only read it.

SELECT format('CREATE ROLE %I', role)
FROM unnest(ARRAY['auth', 'records', 'audit', 'backup']) AS service,
     unnest(ARRAY[service || '_owner', service || '_app']) AS role
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role)
UNION ALL
SELECT format('CREATE ROLE %I', role)
FROM unnest(ARRAY['backup_repl', 'audit_verify']) AS role
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) \gexec

-- Set on every run, so that a role that was widened by hand is narrow again.
SELECT format('ALTER ROLE %I LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD NULL', role)
FROM unnest(ARRAY['auth', 'records', 'audit', 'backup']) AS service,
     unnest(ARRAY[service || '_owner', service || '_app']) AS role \gexec

ALTER ROLE audit_verify LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD NULL;
ALTER ROLE audit_verify SET default_transaction_read_only = on;

ALTER ROLE backup_repl LOGIN REPLICATION NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD NULL;

SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING ''UTF8''', service, service || '_owner')
FROM unnest(ARRAY['auth', 'records', 'audit', 'backup']) AS service
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = service) \gexec

-- Nobody but the two roles of a service may even connect to its database, but audit_verify to that of the log.
SELECT command
FROM unnest(ARRAY['auth', 'records', 'audit', 'backup']) AS service,
     unnest(ARRAY[
       format('ALTER DATABASE %I OWNER TO %I', service, service || '_owner'),
       format('REVOKE ALL ON DATABASE %I FROM PUBLIC', service),
       format('REVOKE ALL ON DATABASE %I FROM %I', service, service || '_app'),
       format('GRANT CONNECT ON DATABASE %I TO %I, %I', service, service || '_owner', service || '_app')
     ]) AS command \gexec

\connect auth
ALTER SCHEMA public OWNER TO auth_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO auth_app;

\connect records
ALTER SCHEMA public OWNER TO records_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO records_app;

\connect audit
ALTER SCHEMA public OWNER TO audit_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO audit_app, audit_verify;
REVOKE ALL ON DATABASE audit FROM audit_verify;
GRANT CONNECT ON DATABASE audit TO audit_verify;

\connect backup
ALTER SCHEMA public OWNER TO backup_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO backup_app;
