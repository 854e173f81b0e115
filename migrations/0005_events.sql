-- The hot tables. tenant_id leads every key and there is no foreign key, so that they can be spread
-- over a cluster by tenant with the same statements; and a foreign key would make every insert
-- lock a row of its tenant.

-- migrate:up
CREATE TABLE event_deduplication (
    tenant_id bigint NOT NULL,
    event_key uuid NOT NULL,
    id bigint NOT NULL,
    payload_hash bigint NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, event_key)
);
COMMENT ON TABLE event_deduplication IS
    'The ledger: which event ids exist. Ask it: WHERE tenant_id = 1 AND event_key = event_key(''abc'')';
COMMENT ON COLUMN event_deduplication.event_key IS 'event_key(event_id)';
COMMENT ON COLUMN event_deduplication.id IS 'The id of the row in events';
COMMENT ON COLUMN event_deduplication.payload_hash IS
    'Hash of the content: the same id with another hash is a conflict';

CREATE TABLE events (
    id bigint NOT NULL,
    tenant_id bigint NOT NULL,
    workspace_id bigint NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    event text,
    name text,
    category text,
    user_id text,
    anonymous_id text,
    group_id text,
    previous_id text,
    properties jsonb,
    traits jsonb,
    context jsonb,
    extra jsonb,
    schema_version text NOT NULL,
    request_id bigint NOT NULL,
    original_timestamp timestamptz,
    sent_at timestamptz,
    received_at timestamptz NOT NULL,
    "timestamp" timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, received_at, id)
) PARTITION BY RANGE (received_at);
COMMENT ON TABLE events IS 'One row per event that happened. Partitioned by UTC day; no default partition';
COMMENT ON COLUMN events.id IS 'Our own time-ordered number; people see base36(id)';
COMMENT ON COLUMN events.event_id IS 'The id given by the client, or made by us when it gave none';
COMMENT ON COLUMN events.extra IS 'Members of the event that are none of the others';
COMMENT ON COLUMN events.request_id IS 'Of the request that brought it; X-Request-Id is base36(request_id)';
COMMENT ON COLUMN events.original_timestamp IS 'When it happened, by the clock of the client';
COMMENT ON COLUMN events.sent_at IS 'When it was sent, by the clock of the client';
COMMENT ON COLUMN events.received_at IS 'When it came, by our clock';
COMMENT ON COLUMN events."timestamp" IS
    'When it happened, corrected for the clock of the client: received_at - (sent_at - original_timestamp)';

CREATE TABLE rejected_events (
    id bigint NOT NULL,
    tenant_id bigint NOT NULL,
    workspace_id bigint NOT NULL,
    event_id text,
    code text NOT NULL,
    field text,
    message text NOT NULL,
    payload bytea NOT NULL,
    request_id bigint NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, received_at, id)
) PARTITION BY RANGE (received_at);
COMMENT ON TABLE rejected_events IS
    'Quarantine: what was refused, why, and its bytes as they came. Partitioned like events';
COMMENT ON COLUMN rejected_events.code IS 'The reason, as in the answer to the client';
COMMENT ON COLUMN rejected_events.payload IS 'The event as sent; bytea because it may be no valid text';

-- migrate:down
-- Forward only.
