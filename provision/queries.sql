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
INSERT INTO api_keys (key_id, tenant_id, workspace_id, secret_sha256, name, max_batch_events, max_payload_bytes)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: list_keys
SELECT key_id, tenants.name AS tenant, workspaces.name AS workspace, api_keys.name,
       max_batch_events, max_payload_bytes, last_used_at, expires_at, revoked_at, api_keys.created_at
FROM api_keys
JOIN tenants ON tenants.id = api_keys.tenant_id
JOIN workspaces ON workspaces.id = api_keys.workspace_id
WHERE $1::text IS NULL OR tenants.name = $1
ORDER BY tenants.name, workspaces.name, api_keys.created_at, key_id

-- name: revoke_key
-- A key revoked before keeps its time.
UPDATE api_keys SET revoked_at = now() WHERE key_id = $1 AND revoked_at IS NULL

-- name: find_key
SELECT revoked_at FROM api_keys WHERE key_id = $1

-- name: find_usable_key
-- The key itself is not kept, so whoever holds its text brings the digest.
SELECT FROM api_keys
JOIN tenants ON tenants.id = api_keys.tenant_id
WHERE key_id = $1 AND secret_sha256 = $2 AND tenants.name = $3
  AND revoked_at IS NULL AND disabled_at IS NULL AND (expires_at IS NULL OR expires_at > now())

-- name: try_lock_migrations
SELECT pg_try_advisory_lock(hashtext('forebay'), hashtext('provision migrate'))

-- name: find_migration_lock_holder
SELECT pid, coalesce(application_name, '') AS application_name, host(client_addr) AS client,
       backend_start, coalesce(state, 'not ours to see') AS state
FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND objsubid = 2
  AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND classid::bigint = hashtext('forebay')::bigint & 4294967295
  AND objid::bigint = hashtext('provision migrate')::bigint & 4294967295

-- name: read_negotiated_ssl
SELECT coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)

-- name: has_table
SELECT to_regclass($1::text) IS NOT NULL

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
SELECT parent.relname AS table_name, count(*) AS partitions,
       min(right(child.relname, 8)) AS first_day, max(right(child.relname, 8)) AS last_day
FROM pg_inherits
JOIN pg_class AS child ON child.oid = inhrelid
JOIN pg_class AS parent ON parent.oid = inhparent
WHERE inhparent IN (to_regclass('events'), to_regclass('rejected_events'))
GROUP BY parent.relname
ORDER BY parent.relname

-- name: tail_events
-- Tenant by tenant, so that each part comes from the end of the primary key: no partition is read whole.
SELECT base36(newest.id) AS id, newest.received_at, tenants.name AS tenant, workspaces.name AS workspace,
       newest.type, newest.event, newest.event_id, newest.user_id, newest.anonymous_id, newest.group_id,
       newest.previous_id, newest.name, newest.category, newest.properties, newest.traits,
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
-- Whose tables these may be: anything outside the server's own schemas.
SELECT current_database() AS name,
       current_setting('forebay.dev', true) IS NOT DISTINCT FROM 'on' AS is_dev,
       EXISTS (
           SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
           WHERE relkind IN ('r', 'p', 'f', 'm')
             AND nspname <> 'information_schema' AND nspname !~ '^pg_'
       ) AS has_tables

-- name: write_dev_mark
-- The statement that marks this database; a name cannot be an argument of it.
SELECT format('ALTER DATABASE %I SET forebay.dev = %L', current_database(), 'on')

-- name: has_database
SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)

-- name: write_create_database
SELECT format('CREATE DATABASE %I', $1::text)
