-- name: begin
BEGIN

-- name: begin_impatient
-- To find the row that another session holds without waiting long for it each time.
BEGIN; SET LOCAL lock_timeout = '100ms'

-- name: insert_ledger
-- Claims each key. The core sorts the keys by (tenant_id, event_key bytes) in every writer: two
-- flushes that share keys then wait for each other instead of deadlocking.
-- Returns the ids of the rows that were not new. Waits for rows that another transaction holds.
WITH given AS (
  SELECT * FROM unnest($1::ledger_row_v1[])
), new AS (
  INSERT INTO event_deduplication (tenant_id, event_key, id, payload_hash, received_at)
  SELECT tenant_id, event_key, id, payload_hash, received_at FROM given
  ON CONFLICT DO NOTHING
  RETURNING id
)
SELECT id FROM given WHERE id NOT IN (SELECT id FROM new)

-- name: insert_at_once
-- Claims the keys and stores the events, as one statement. Sorted by the core likewise.
-- It commits itself, so it has to end with an error when a claimed key's event was not stored.
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
-- What the ledger holds for keys that were not new; a statement of its own, for a new snapshot.
-- The COMMIT of a transaction that has written nothing does not wait for a synchronous standby, and
-- the standby may lack these rows: the flush that stored them may have been cut off as it waited.
-- So with a standby an empty message is written, which makes COMMIT wait.
SELECT held.tenant_id, held.event_key, held.id, held.payload_hash, held.received_at
FROM unnest($1::bigint[], $2::uuid[]) AS asked (tenant_id, event_key)
JOIN event_deduplication AS held USING (tenant_id, event_key)
WHERE current_setting('synchronous_standby_names') = ''
   OR (SELECT pg_logical_emit_message(true, 'forebay', '')) IS NOT NULL

-- name: find_workspaces
-- The workspace of stored events, to tell an id used elsewhere from one used with other content.
SELECT stored.tenant_id, stored.received_at, stored.id, stored.workspace_id
FROM unnest($1::bigint[], $2::timestamptz[], $3::bigint[]) AS asked (tenant_id, received_at, id)
JOIN events AS stored USING (tenant_id, received_at, id)

-- name: insert_rejected
-- Quarantine. ON CONFLICT, because a flush whose outcome was unknown runs again with the same rows.
INSERT INTO rejected_events
  (id, tenant_id, workspace_id, event_id, code, field, message, payload, request_id, received_at)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[],
                     $7::text[], $8::bytea[], $9::bigint[], $10::timestamptz[])
ON CONFLICT DO NOTHING

-- name: count_rejected
-- Counts rows that an earlier try may have stored. As in find_ledger, an empty message makes COMMIT
-- wait for a synchronous standby.
SELECT count(*)
FROM unnest($1::bigint[], $2::timestamptz[], $3::bigint[]) AS asked (tenant_id, received_at, id)
JOIN rejected_events USING (tenant_id, received_at, id)
WHERE current_setting('synchronous_standby_names') = ''
   OR (SELECT pg_logical_emit_message(true, 'forebay', '')) IS NOT NULL
