-- name: check_session
-- Identity of the session, and the settings on which durability depends.
-- synchronous_commit is set for the session, so that neither a reload nor ALTER ROLE SET nor ALTER
-- DATABASE SET changes it. If it is configured as remote_apply, it has that value in the session.
SELECT pg_backend_pid() AS pid,
       (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()) AS backend_start,
       set_config(
         'synchronous_commit',
         CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply'
         ELSE 'on' END,
         false
       ) AS synchronous_commit,
       -- Needed for the WARNING of a commit that no standby has confirmed.
       set_config('client_min_messages', 'warning', false),
       -- The second statement of a flush has to see rows committed after the first.
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
-- Sets startup parameters that a pooler has not passed on.
SELECT set_config(name, value, false), pg_backend_pid() AS pid
FROM unnest($1::text[], $2::text[]) AS setting (name, value)

-- name: check_settings
-- The settings on which durability depends: a reload may have changed them.
SELECT current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes,
       current_setting('transaction_read_only') AS transaction_read_only,
       current_setting('server_encoding') AS server_encoding

-- name: end_session
-- Ends a session of Forebay whose last answer was lost, and waits for its end. Process number and
-- start time identify it: the number alone may belong to another session by now.
SELECT pg_terminate_backend(pid, $3::bigint)
FROM pg_stat_activity
WHERE pid = $1::int AND backend_start = $2::timestamptz

-- name: ping
SELECT 1

-- name: begin_probe
-- The limits are shorter than those of a flush, because a probe has less time.
BEGIN; SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '2s'

-- name: probe
-- Inserts $2 rows into each table, as a flush does; the caller rolls them back. The keys belong to
-- no tenant and are the same in each probe of a session, so that the ledger's index does not grow.
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
-- Writes an empty message, whose commit needs the disk of the WAL and a synchronous standby.
SELECT pg_logical_emit_message(true, 'forebay', '')
