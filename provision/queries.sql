-- name: insert_tenant
INSERT INTO tenants (name) VALUES ($1) RETURNING id

-- name: find_tenant
SELECT id FROM tenants WHERE name = $1

-- name: list_tenants
SELECT name AS tenant,
       (SELECT count(*) FROM workspaces WHERE tenant_id = tenants.id) AS workspaces,
       (SELECT count(*) FROM api_keys WHERE tenant_id = tenants.id AND revoked_at IS NULL) AS keys,
       disabled_at, created_at
FROM tenants
ORDER BY name

-- name: insert_workspace
INSERT INTO workspaces (tenant_id, name) VALUES ($1, $2) RETURNING id

-- name: find_workspace
SELECT id FROM workspaces WHERE tenant_id = $1 AND name = $2

-- name: list_workspaces
SELECT tenants.name AS tenant, workspaces.name AS workspace,
       (SELECT count(*) FROM api_keys
        WHERE tenant_id = tenants.id AND workspace_id = workspaces.id AND revoked_at IS NULL) AS keys,
       workspaces.created_at
FROM workspaces JOIN tenants ON tenants.id = workspaces.tenant_id
WHERE $1::text IS NULL OR tenants.name = $1
ORDER BY tenants.name, workspaces.name

-- name: insert_key
INSERT INTO api_keys (key_id, tenant_id, workspace_id, secret_sha256, name, max_batch_events, max_payload_bytes,
                      events_per_second)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: list_keys
SELECT key_id, tenants.name AS tenant, workspaces.name AS workspace, api_keys.name,
       max_batch_events, max_payload_bytes, events_per_second, last_used_at, expires_at, revoked_at, api_keys.created_at
FROM api_keys
JOIN tenants ON tenants.id = api_keys.tenant_id
JOIN workspaces ON workspaces.id = api_keys.workspace_id
WHERE $1::text IS NULL OR tenants.name = $1
ORDER BY tenants.name, workspaces.name, api_keys.created_at, key_id

-- name: update_key
-- $2: an object with the new values of some of these columns.
UPDATE api_keys
SET (max_batch_events, max_payload_bytes, events_per_second) = (
    SELECT max_batch_events, max_payload_bytes, events_per_second
    FROM jsonb_populate_record(api_keys, $2::jsonb)
)
WHERE key_id = $1
RETURNING max_batch_events, max_payload_bytes, events_per_second

-- name: revoke_key
-- A revocation time in the past stays; a time in the future is replaced.
UPDATE api_keys SET revoked_at = now()
WHERE key_id = $1 AND (revoked_at IS NULL OR revoked_at > now())

-- name: find_key
SELECT revoked_at FROM api_keys WHERE key_id = $1

-- name: find_key_place
SELECT tenant_id, workspace_id FROM api_keys WHERE key_id = $1

-- name: list_rejects
-- Rejected and conflicting events of the last $1 by reason, with the newest one of each: of the key
-- $2 of the workspace $4, or of the tenant $3, or of all tenants. Rows of earlier releases have no key.
WITH reasons AS (
    SELECT tenant_id, workspace_id, key_id, code, field,
           count(*) AS events, min(received_at) AS first_at, max(received_at) AS last_at
    FROM rejected_events
    WHERE received_at >= now() - $1::interval
      AND ($3::bigint IS NULL OR tenant_id = $3)
      AND ($2::text IS NULL OR key_id = $2 OR (key_id IS NULL AND workspace_id = $4::bigint))
    GROUP BY tenant_id, workspace_id, key_id, code, field
    ORDER BY events DESC, last_at DESC
    LIMIT $5
)
SELECT tenants.name AS tenant, workspaces.name AS workspace, reasons.key_id, reasons.code, reasons.field,
       events, first_at, last_at, example.event_id, base36(example.request_id) AS request_id,
       example.message, substr(example.payload, 1, $6) AS payload
FROM reasons
JOIN tenants ON tenants.id = reasons.tenant_id
JOIN workspaces ON workspaces.id = reasons.workspace_id
CROSS JOIN LATERAL (
    SELECT event_id, request_id, message, payload FROM rejected_events
    WHERE tenant_id = reasons.tenant_id AND received_at = reasons.last_at
      AND workspace_id = reasons.workspace_id AND key_id IS NOT DISTINCT FROM reasons.key_id
      AND code = reasons.code AND field IS NOT DISTINCT FROM reasons.field
    ORDER BY id DESC
    LIMIT 1
) AS example
ORDER BY events DESC, last_at DESC

-- name: find_usable_key
-- $2 is a hash: the table does not contain the secret.
SELECT FROM api_keys
JOIN tenants ON tenants.id = api_keys.tenant_id
WHERE key_id = $1 AND secret_sha256 = $2 AND tenants.name = $3
  AND coalesce(least(expires_at, revoked_at, disabled_at) > now(), true)

-- name: try_lock_migrations
SELECT pg_try_advisory_lock(hashtext('forebay'), hashtext('provision migrate'))

-- name: find_migration_lock_holder
SELECT pid, coalesce(application_name, '') AS application_name, host(client_addr) AS client,
       backend_start, coalesce(state, 'state not visible to this role') AS state
FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND objsubid = 2
  AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND classid::bigint = hashtext('forebay')::bigint & 4294967295
  AND objid::bigint = hashtext('provision migrate')::bigint & 4294967295

-- name: read_server
SELECT current_setting('server_version_num')::int AS version_num,
       current_setting('server_encoding') AS encoding

-- name: list_blockers
-- Sessions that block the session with the process id $1. Without a privilege to see other sessions,
-- a role sees only their process id and user.
SELECT blocker.pid, concat_ws(
           ', ', 'pid ' || blocker.pid, nullif(blocker.application_name, ''), blocker.usename, blocker.state,
           'transaction open for ' || date_trunc('second', clock_timestamp() - blocker.xact_start)
       ) AS blocker
FROM pg_stat_activity AS blocker
WHERE blocker.pid = ANY (pg_blocking_pids($1))
ORDER BY 1

-- name: list_pending_detach
SELECT inhparent::regclass::text AS parent, inhrelid::regclass::text AS partition
FROM pg_inherits
WHERE inhparent IN (to_regclass('events'), to_regclass('rejected_events')) AND inhdetachpending

-- name: list_invalid_indexes
-- Indexes that an interrupted CREATE INDEX CONCURRENTLY left; without those of partitioned tables.
SELECT relname AS name, indexrelid::regclass::text AS index
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
WHERE NOT indisvalid AND relkind = 'i'

-- name: read_pid
SELECT pg_backend_pid()

-- name: cancel_statement
SELECT pg_cancel_backend($1)

-- name: set_lock_timeout
-- $2: true for the current transaction, false for the session.
SELECT set_config('lock_timeout', $1, $2)

-- name: has_table
SELECT to_regclass($1::text) IS NOT NULL

-- name: write_create_schema
-- The statement that creates the schema $1; no row if it exists.
SELECT format('CREATE SCHEMA %I', $1::text) WHERE to_regnamespace(quote_ident($1)) IS NULL

-- name: create_schema_migrations
CREATE TABLE schema_migrations (version varchar PRIMARY KEY)

-- name: insert_applied
INSERT INTO schema_migrations (version) VALUES ($1)

-- name: list_applied
SELECT version FROM schema_migrations

-- name: list_checksums
SELECT version, sha256, is_breaking FROM schema_checksums

-- name: insert_checksum
INSERT INTO schema_checksums (version, sha256, is_breaking) VALUES ($1, $2, $3)

-- name: count_tenants
SELECT (SELECT count(*) FROM tenants) AS tenants,
       (SELECT count(*) FROM workspaces) AS workspaces,
       (SELECT count(*) FROM api_keys WHERE revoked_at IS NULL) AS keys

-- name: list_partitions
-- The days come from the bounds of the partitions, which are parsed from their text form.
SELECT parent.relname AS table_name, count(*) AS partitions,
       coalesce(to_char(min(trim(BOTH '''' FROM bound[1])::timestamptz), 'YYYYMMDD'), '') AS first_day,
       coalesce(to_char(max(trim(BOTH '''' FROM bound[2])::timestamptz) - interval '1 us', 'YYYYMMDD'), '') AS last_day
FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid
JOIN pg_class AS parent ON parent.oid = inhparent
LEFT JOIN LATERAL (
    SELECT replace(replace(pg_get_expr(child.relpartbound, child.oid), 'MINVALUE', '-infinity'), 'MAXVALUE', 'infinity')
) AS readable (bounds) ON true
LEFT JOIN LATERAL regexp_match(bounds, '^FOR VALUES FROM \((.+)\) TO \((.+)\)$') AS bound ON true
WHERE inhparent IN (to_regclass('events'), to_regclass('rejected_events'))
GROUP BY parent.relname
ORDER BY parent.relname

-- name: list_partition_problems
-- A sentence for each problem with the partitions of the days $1 to $2.
SELECT format('%s has no partition for %s, %s: provision partitions makes it, or says why it cannot',
              parent, utc_day, CASE WHEN takes_rows THEN 'and rows go to the DEFAULT partition'
                                    ELSE 'and events of that day cannot be stored' END) AS problem
FROM event_partition_gaps_v1($1::date, $2::date)
UNION ALL
SELECT format('%s has a DEFAULT partition, %s: no new partitions while rows are in it',
              partrelid::regclass, partdefid::regclass)
FROM pg_partitioned_table
WHERE partrelid IN (to_regclass('events'), to_regclass('rejected_events')) AND partdefid <> 0
UNION ALL
SELECT format('%s is pending detach: ALTER TABLE %s DETACH PARTITION %s FINALIZE',
              inhrelid::regclass, inhparent::regclass, inhrelid::regclass)
FROM pg_inherits
WHERE inhparent IN (to_regclass('events'), to_regclass('rejected_events')) AND inhdetachpending
UNION ALL
SELECT format('%s is not a partition, and has the name of one: rename or drop it', stray.oid::regclass)
FROM generate_series($1::date, $2::date, interval '1 day') AS day
CROSS JOIN unnest(ARRAY['events', 'rejected_events']) AS name
JOIN pg_class AS parent ON parent.oid = to_regclass(name)
JOIN pg_class AS stray ON stray.relnamespace = parent.relnamespace
    AND stray.relname = name || to_char(day, '_YYYYMMDD') AND NOT stray.relispartition
ORDER BY 1

-- name: ensure_partitions
SELECT parent AS table_name, utc_day, made, problem, advice
FROM ensure_event_partitions_v1($1::date, $2::date)

-- name: tail_events
-- Reads the newest events of each tenant from the end of the primary key, so that no partition is
-- scanned completely.
SELECT base36(newest.id) AS id, newest.received_at, tenants.name AS tenant, workspaces.name AS workspace,
       newest.event_id, newest.type, newest.event, newest.name, newest.category, newest.user_id,
       newest.anonymous_id, newest.group_id, newest.previous_id, newest.properties, newest.traits,
       newest.context, newest.extra, newest.schema_version, base36(newest.request_id) AS request_id,
       newest.original_timestamp, newest.sent_at, newest."timestamp"
FROM tenants
CROSS JOIN LATERAL (
    SELECT * FROM events
    WHERE events.tenant_id = tenants.id
    ORDER BY events.received_at DESC, events.id DESC
    LIMIT $1
) AS newest
JOIN workspaces ON workspaces.id = newest.workspace_id
ORDER BY newest.received_at DESC, newest.id DESC
LIMIT $1

-- name: inspect_dev_database
-- has_tables: any table outside the schemas of PostgreSQL.
SELECT current_database() AS name,
       current_setting('forebay.dev', true) IS NOT DISTINCT FROM 'on' AS is_dev,
       EXISTS (
           SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
           WHERE relkind IN ('r', 'p', 'f', 'm')
             AND nspname <> 'information_schema' AND nspname !~ '^pg_'
       ) AS has_tables

-- name: write_dev_mark
-- The statement that marks this database; ALTER DATABASE takes no parameter for the name.
SELECT format('ALTER DATABASE %I SET forebay.dev = %L', current_database(), 'on')

-- name: has_database
SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)

-- name: write_create_database
SELECT format('CREATE DATABASE %I', $1::text)
