-- name: check_session
-- Who we are to the server, and whether it keeps what it acknowledges.
SELECT pg_backend_pid() AS pid,
       (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()) AS backend_start,
       current_setting('synchronous_commit') AS synchronous_commit,
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
