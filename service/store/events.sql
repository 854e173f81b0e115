-- name: begin
BEGIN

-- name: begin_short_lock_timeout
-- For the halves of a flush. If the flush was split because of a row lock, a half meets it again.
BEGIN; SET LOCAL lock_timeout = '100ms'

-- name: insert_ledger
-- Claims each key; returns the ids of rows that were not inserted. Waits for the row locks of other
-- transactions. Every writer sends the keys sorted by (tenant_id, event_key bytes), so two flushes
-- that share keys wait for each other instead of deadlocking.
WITH given AS (
  SELECT * FROM unnest($1::ledger_row_v1[])
), new AS (
  INSERT INTO event_deduplication (tenant_id, event_key, id, payload_hash, received_at)
  SELECT tenant_id, event_key, id, payload_hash, received_at FROM given
  ON CONFLICT DO NOTHING
  RETURNING id
)
SELECT id FROM given WHERE id NOT IN (SELECT id FROM new)

-- name: insert_single_statement
-- Claims the keys and stores the events; returns the ids of rows that were not inserted. The keys are
-- sorted as in insert_ledger. The statement commits itself, so it must end with an error when the
-- key of an event was claimed and the event was not stored.
WITH given AS (
  SELECT * FROM unnest($1::event_row_v1[])
), new AS (
  INSERT INTO event_deduplication (tenant_id, event_key, id, payload_hash, received_at)
  SELECT tenant_id, event_key, id, payload_hash, received_at FROM given
  ON CONFLICT DO NOTHING
  RETURNING id
), stored AS (
  INSERT INTO events
    (id, tenant_id, workspace_id, event_id, type, event, name, category, user_id, anonymous_id,
     group_id, previous_id, properties, traits, context, extra, schema_version, request_id,
     original_timestamp, sent_at, received_at, "timestamp")
  SELECT id, tenant_id, workspace_id, event_id, type, event, name, category, user_id, anonymous_id,
         group_id, previous_id, properties, traits, context, extra, schema_version, request_id,
         original_timestamp, sent_at, received_at, "timestamp"
  FROM given JOIN new USING (id)
  RETURNING id
)
SELECT id FROM given
WHERE CASE
  WHEN id IN (SELECT id FROM stored) THEN false
  WHEN id IN (SELECT id FROM new) THEN refuse_missing_rows('events')
  ELSE true
END

-- name: find_ledger
-- Returns the ledger rows of keys that were not inserted. This is a separate statement, because its
-- snapshot has to include rows that were committed after the insert began.
-- If a synchronous standby is configured, the statement also writes an empty message: PostgreSQL
-- waits for the standby only at the COMMIT of a transaction that has written something. The standby
-- may lack the ledger rows, if the flush that stored them was cut off while it waited.
SELECT entry.tenant_id, entry.event_key, entry.id, entry.payload_hash, entry.received_at
FROM unnest($1::bigint[], $2::uuid[]) AS asked (tenant_id, event_key)
JOIN event_deduplication AS entry USING (tenant_id, event_key)
WHERE current_setting('synchronous_standby_names') = ''
   OR (SELECT pg_logical_emit_message(true, 'forebay', '')) IS NOT NULL

-- name: find_workspaces
-- Returns the workspaces of stored events. They show whether an id was used in another workspace.
SELECT stored.tenant_id, stored.received_at, stored.id, stored.workspace_id
FROM unnest($1::bigint[], $2::timestamptz[], $3::bigint[]) AS asked (tenant_id, received_at, id)
JOIN events AS stored USING (tenant_id, received_at, id)

-- name: insert_rejected
-- Writes to quarantine. With ON CONFLICT, because an earlier attempt may have stored the rows.
INSERT INTO rejected_events
  (id, tenant_id, workspace_id, event_id, code, field, message, payload, request_id, received_at,
   key_id)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[],
                     $7::text[], $8::bytea[], $9::bigint[], $10::timestamptz[], $11::text[])
ON CONFLICT DO NOTHING

-- name: count_rejected
-- Counts rows that an earlier attempt may have stored. As in find_ledger, an empty message makes
-- COMMIT wait for a synchronous standby.
SELECT count(*)
FROM unnest($1::bigint[], $2::timestamptz[], $3::bigint[]) AS asked (tenant_id, received_at, id)
JOIN rejected_events USING (tenant_id, received_at, id)
WHERE current_setting('synchronous_standby_names') = ''
   OR (SELECT pg_logical_emit_message(true, 'forebay', '')) IS NOT NULL
