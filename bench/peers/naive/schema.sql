-- The peer's own schema. It also reads api_keys, a table of the service.
CREATE SCHEMA IF NOT EXISTS naive;

CREATE TABLE IF NOT EXISTS naive.events (
    id bigint GENERATED ALWAYS AS IDENTITY,
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
    request_id text NOT NULL,
    original_timestamp timestamptz,
    sent_at timestamptz,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, event_id)
);
