-- Who may do what in this database, as the catalogues say: roles that can reach it,
-- memberships, owners, and every right of somebody who is not the owner. Rights that
-- PostgreSQL gives by default, such as EXECUTE to PUBLIC, count like those that were granted.
WITH
people AS (
    -- The first superuser (oid 10) appears as a role, not among the rights: it needs none.
    SELECT oid, rolname FROM pg_roles WHERE oid <> 10 AND rolname !~ '^pg_'
    UNION ALL
    SELECT 0, 'PUBLIC'
),
spaces AS (
    SELECT oid, nspname, nspowner, nspacl, nspname !~ '^pg_' AND nspname <> 'information_schema' AS ours FROM pg_namespace
),
functions AS (
    SELECT p.oid, p.proowner, p.proacl, p.prosecdef, s.ours,
        CASE WHEN s.nspname = 'public' THEN '' ELSE s.nspname || '.' END || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS name
    FROM pg_proc p JOIN spaces s ON s.oid = p.pronamespace
),
tables AS (
    SELECT c.oid, c.relowner, c.relacl, c.relkind, c.relrowsecurity, c.relforcerowsecurity, s.ours,
        CASE c.relkind WHEN 'S' THEN 'sequence ' WHEN 'v' THEN 'view ' ELSE 'table ' END
            || CASE WHEN s.nspname = 'public' THEN '' ELSE s.nspname || '.' END || c.relname AS name
    FROM pg_class c JOIN spaces s ON s.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
),
-- In the schemas of PostgreSQL itself what PUBLIC holds is left out, and nothing else.
rights (thing, owner, ours, acl) AS (
    SELECT 'database ' || datname, datdba, true, coalesce(datacl, acldefault('d', datdba)) FROM pg_database WHERE datname = current_database()
    UNION ALL SELECT 'schema ' || nspname, nspowner, ours, coalesce(nspacl, acldefault('n', nspowner)) FROM spaces
    UNION ALL SELECT name, relowner, ours, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) FROM tables
    UNION ALL SELECT t.name || '.' || a.attname, t.relowner, t.ours, a.attacl
        FROM pg_attribute a JOIN tables t ON t.oid = a.attrelid WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
    UNION ALL SELECT 'function ' || name, proowner, ours, coalesce(proacl, acldefault('f', proowner)) FROM functions
    UNION ALL SELECT 'type ' || typname, typowner, true, typacl FROM pg_type WHERE typacl IS NOT NULL
    UNION ALL SELECT 'language ' || lanname, lanowner, NOT lanpltrusted AND lanispl, coalesce(lanacl, acldefault('l', lanowner)) FROM pg_language
    UNION ALL SELECT 'large object ' || oid, lomowner, true, coalesce(lomacl, acldefault('L', lomowner)) FROM pg_largeobject_metadata
    UNION ALL SELECT 'foreign server ' || srvname, srvowner, true, coalesce(srvacl, acldefault('S', srvowner)) FROM pg_foreign_server
    UNION ALL SELECT 'parameter ' || parname, 10, true, paracl FROM pg_parameter_acl
    UNION ALL SELECT 'default for new ' || CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions'
            WHEN 'T' THEN 'types' ELSE 'schemas' END || ' of ' || d.defaclrole::regrole, d.defaclrole, true, d.defaclacl FROM pg_default_acl d
),
given AS (
    SELECT r.thing, p.rolname AS grantee, string_agg(x.privilege_type || CASE WHEN x.is_grantable THEN ' (may pass it on)' ELSE '' END,
        ', ' ORDER BY x.privilege_type) AS privileges
    FROM rights r CROSS JOIN LATERAL aclexplode(r.acl) x JOIN people p ON p.oid = x.grantee
    WHERE x.grantee <> r.owner AND (r.ours OR x.grantee <> 0)
    GROUP BY r.thing, p.rolname
),
lines (part, line) AS (
    SELECT 1, 'role ' || rolname || ': ' || concat_ws(', ',
        CASE WHEN rolcanlogin THEN 'login' END, CASE WHEN rolsuper THEN 'superuser' END, CASE WHEN rolbypassrls THEN 'bypassrls' END,
        CASE WHEN rolcreaterole THEN 'createrole' END, CASE WHEN rolcreatedb THEN 'createdb' END,
        CASE WHEN rolreplication THEN 'replication' END, CASE WHEN rolinherit AND NOT rolsuper THEN 'inherit' END,
        CASE WHEN rolpassword IS NOT NULL THEN 'password' END)
    FROM pg_authid WHERE rolname !~ '^pg_'
        AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication OR has_database_privilege(oid, current_database(), 'CONNECT'))
    UNION ALL SELECT 2, 'member ' || m.member::regrole || ' of ' || m.roleid::regrole
        FROM pg_auth_members m WHERE m.member::regrole::text !~ '^pg_'
    UNION ALL SELECT 3, 'database ' || datname || ': owner ' || datdba::regrole FROM pg_database WHERE datname = current_database()
    UNION ALL SELECT 4, 'schema ' || nspname || ': owner ' || nspowner::regrole FROM spaces WHERE ours
    UNION ALL SELECT 5, name || ': owner ' || relowner::regrole
        || CASE WHEN relrowsecurity AND relforcerowsecurity THEN ', row security forced' WHEN relrowsecurity THEN ', row security' ELSE '' END
        FROM tables WHERE ours
    UNION ALL SELECT 6, 'function ' || name || ': owner ' || proowner::regrole || CASE WHEN prosecdef THEN ', runs as owner' ELSE '' END
        FROM functions WHERE ours
    UNION ALL SELECT 7, thing || ': ' || privileges || ' to ' || grantee FROM given
)
SELECT line FROM lines ORDER BY part, line COLLATE "C";
