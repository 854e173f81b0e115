-- name: check_session
-- Who we are to the server, and whether it keeps what it acknowledges.
-- synchronous_commit is set in the session: neither a reload nor ALTER ROLE or DATABASE SET changes
-- it then. remote_apply, where the server, the role or the URL asks for it, stays.
SELECT pg_backend_pid() AS pid,
       (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()) AS backend_start,
       set_config(
         'synchronous_commit',
         CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply'
         ELSE 'on' END,
         false
       ) AS synchronous_commit,
       -- The WARNING of a commit that no standby confirmed must arrive.
       set_config('client_min_messages', 'warning', false),
       -- The second statement of a flush has to see what others committed after the first.
       set_config('default_transaction_isolation', 'read committed', false),
       current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes,
       current_setting('transaction_read_only') AS transaction_read_only,
       current_setting('server_encoding') AS server_encoding,
       to_regtype('ledger_row_v1')::oid::bigint AS ledger_row,
       to_regtype('ledger_row_v1[]')::oid::bigint AS ledger_rows,
       to_regtype('event_row_v1')::oid::bigint AS event_row,
       to_regtype('event_row_v1[]')::oid::bigint AS event_rows

-- name: read_pid
SELECT pg_backend_pid()

-- name: read_pid_after_a_while
-- Keeps the session busy for 50 ms.
SELECT pg_backend_pid() FROM pg_sleep(0.05)

-- name: apply_settings
-- For the session, as if they had been sent at its start.
SELECT set_config(name, value, false), pg_backend_pid() AS pid
FROM unnest($1::text[], $2::text[]) AS setting (name, value)

-- name: check_settings
-- Whether the server still keeps what it acknowledges: a reload may have changed it.
SELECT current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes,
       current_setting('transaction_read_only') AS transaction_read_only,
       current_setting('server_encoding') AS server_encoding

-- name: end_session
-- Ends a session of ours whose last word was lost, and waits for its end. Backend and start
-- together name it: a process number alone may belong to somebody else by now.
SELECT pg_terminate_backend(pid, $3::bigint)
FROM pg_stat_activity
WHERE pid = $1::int AND backend_start = $2::timestamptz

-- name: ping
SELECT 1

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

-- name: begin_probe
-- Limits of its own: a flush may wait longer than a probe is given.
BEGIN; SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '2s'

-- name: probe
-- What a flush does, with $2 rows that are rolled back: it fails as a flush would. The keys belong
-- to no tenant and stay the same for as long as the session lives, so that the index of the ledger
-- does not grow.
WITH given AS (
  SELECT number AS id, lpad(to_hex(pg_backend_pid()), 24, '0') || lpad(to_hex(number), 8, '0') AS key
  FROM generate_series(1, $2::int) AS number
), new AS (
  INSERT INTO event_deduplication (tenant_id, event_key, id, payload_hash, received_at)
  SELECT 0, key::uuid, id, 0, $1::timestamptz FROM given
  RETURNING id
), stored AS (
  INSERT INTO events
    (id, tenant_id, workspace_id, event_id, type, properties, schema_version, request_id,
     received_at, "timestamp")
  SELECT -pg_backend_pid()::bigint * 1000 - id, 0, 0, key, 'track', '{}', '1.0', 0, $1, $1
  FROM given
  RETURNING id
), rejected AS (
  INSERT INTO rejected_events
    (id, tenant_id, workspace_id, code, message, payload, request_id, received_at)
  SELECT -pg_backend_pid()::bigint * 1000 - id, 0, 0, 'probe', '', '', 0, $1 FROM given
  RETURNING id
)
SELECT (SELECT count(*) FROM new) AS event_deduplication,
       (SELECT count(*) FROM stored) AS events,
       (SELECT count(*) FROM rejected) AS rejected_events

-- name: read_standby_names
SELECT current_setting('synchronous_standby_names')

-- name: commit_nothing
-- An empty message to nobody: its commit needs the disk of the log, and a synchronous standby.
SELECT pg_logical_emit_message(true, 'forebay', '')
