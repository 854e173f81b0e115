-- The row types of a flush, with a version in their name. Running workers write arrays of them in
-- PostgreSQL's binary form, which holds the number of attributes: an attribute more would fail every
-- event. So a type is never altered; a change is a new version beside it, and each release reads the
-- version that it writes. The types without a version serve the release before this one.

-- migrate:up
CREATE TYPE ledger_row_v1 AS (
    tenant_id bigint,
    event_key uuid,
    id bigint,
    payload_hash bigint,
    received_at timestamptz
);
COMMENT ON TYPE ledger_row_v1 IS 'What a flush sends to claim a key in event_deduplication';

CREATE TYPE event_row_v1 AS (
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
COMMENT ON TYPE event_row_v1 IS 'What a flush of one statement sends: the claim of a key, and the event';

-- migrate:down
-- Forward only.
