-- name: read_server
SELECT current_setting('server_version_num')::int AS version_num,
       current_setting('server_encoding') AS encoding

-- name: read_schema
-- The newest migration applied, and the newest breaking one.
SELECT max(version) AS version, max(version) FILTER (WHERE is_breaking) AS breaking_version
FROM schema_checksums

-- name: read_capacity
SELECT current_setting('max_connections')::int
         - current_setting('superuser_reserved_connections')::int AS connections

-- name: missing_rights
-- Rights that the role of this session lacks, each as a sentence with the statement that grants it.
-- is_required: no event can be stored without the right. The others are needed to make partitions.
WITH me AS (
  SELECT quote_ident(current_user) AS role
), grants (object, kind, privilege, is_granted, is_required) AS (
  SELECT name, 'TABLE', privilege, has_any_column_privilege(to_regclass(name), privilege), true
  FROM (VALUES ('events', 'SELECT'), ('events', 'INSERT'),
               ('event_deduplication', 'SELECT'), ('event_deduplication', 'INSERT'),
               ('rejected_events', 'SELECT'), ('rejected_events', 'INSERT'),
               ('api_keys', 'SELECT'), ('tenants', 'SELECT'), ('schema_checksums', 'SELECT')
       ) AS wanted (name, privilege)
  UNION ALL
  SELECT name, 'FUNCTION', 'EXECUTE', has_function_privilege(to_regprocedure(name), 'EXECUTE'),
         is_required
  FROM (VALUES ('refuse_missing_rows(text)', true), ('event_partition_gaps_v1(date,date)', true),
               ('ensure_event_partitions_v1(date,date)', false)
       ) AS wanted (name, is_required)
  UNION ALL
  -- Without USAGE on a schema its tables are not found by name.
  SELECT DISTINCT quote_ident(nspname), 'SCHEMA', 'USAGE', false, true
  FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
  WHERE relname = 'schema_checksums' AND relkind = 'r'
    AND to_regclass('schema_checksums') IS NULL
    AND NOT has_schema_privilege(pg_namespace.oid, 'USAGE')
), maker AS (
  SELECT proowner, quote_ident(pg_get_userbyid(proowner)) AS role
  FROM pg_proc WHERE oid = to_regprocedure('ensure_event_partitions_v1(date,date)')
)
SELECT format('the role %s lacks %s on %s: GRANT %s ON %s %s TO %s',
              role, privilege, object, privilege, kind, object, role) AS sentence, is_required
FROM me, grants
WHERE NOT is_granted
UNION ALL
SELECT format('%s, the owner of ensure_event_partitions_v1, lacks CREATE on the schema %s: '
              'GRANT CREATE ON SCHEMA %s TO %s', role, schema, schema, role), false
FROM maker, (
  SELECT DISTINCT relnamespace, quote_ident(nspname) AS schema
  FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
  WHERE pg_class.oid IN (to_regclass('events'), to_regclass('rejected_events'))
) AS schemas
WHERE NOT has_schema_privilege(proowner, relnamespace, 'CREATE')
UNION ALL
SELECT format('%s, the owner of ensure_event_partitions_v1, does not own %s: '
              'ALTER FUNCTION ensure_event_partitions_v1(date,date) OWNER TO %s',
              role, relname, quote_ident(pg_get_userbyid(relowner))), false
FROM maker, pg_class
WHERE pg_class.oid IN (to_regclass('events'), to_regclass('rejected_events'))
  AND NOT pg_has_role(proowner, relowner, 'USAGE')
ORDER BY 1

-- name: find_partition_gaps
SELECT parent, utc_day, takes_rows FROM event_partition_gaps_v1($1::date, $2::date)

-- name: ensure_partitions
SELECT parent, utc_day, made, problem, advice, takes_rows
FROM ensure_event_partitions_v1($1::date, $2::date)
