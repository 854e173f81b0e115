-- The rows of a flush as one value: the native core writes an array of them in PostgreSQL's binary
-- form. Types of their own, so that a column more in a table does not change what is sent.

-- migrate:up
CREATE TYPE ledger_row AS (
    tenant_id bigint,
    event_key uuid,
    id bigint,
    payload_hash bigint,
    received_at timestamptz
);
COMMENT ON TYPE ledger_row IS 'What a flush sends to claim a key in event_deduplication';

CREATE TYPE event_row AS (
    event_key uuid,
    payload_hash bigint,
    id bigint,
    tenant_id bigint,
    workspace_id bigint,
    event_id text,
    type text,
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
    schema_version text,
    request_id bigint,
    original_timestamp timestamptz,
    sent_at timestamptz,
    received_at timestamptz,
    "timestamp" timestamptz
);
COMMENT ON TYPE event_row IS 'The same with the event itself, for a flush that is one statement';

-- migrate:down
-- Forward only.
