-- Who may send. Small tables, read through the service's cache; foreign keys are welcome here.

-- migrate:up
-- The same rule as provision/names.py, which explains a refusal; a test compares the two.
-- Escapes, not the characters, as the classes \s and [:cntrl:] depend on the database's locale.
CREATE FUNCTION is_valid_name(name text) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN char_length(name) BETWEEN 1 AND 100
    AND name !~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]'
    AND name !~ '^[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]'
    AND name !~ '[ \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]$';
COMMENT ON FUNCTION is_valid_name(text) IS
    '1 to 100 characters, none a control character or line break, no blank at either end';

CREATE TABLE tenants (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    disabled_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT tenants_name_key UNIQUE (name),
    CONSTRAINT tenants_name_is_valid CHECK (is_valid_name(name))
);
COMMENT ON TABLE tenants IS 'The paying customer; owns workspaces; events are deduplicated per tenant';
COMMENT ON COLUMN tenants.disabled_at IS 'From then on every key of the tenant is refused';

CREATE TABLE workspaces (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT workspaces_tenant_id_name_key UNIQUE (tenant_id, name),
    -- The target of api_keys' foreign key: a key never joins one tenant to another's workspace.
    CONSTRAINT workspaces_tenant_id_id_key UNIQUE (tenant_id, id),
    CONSTRAINT workspaces_name_is_valid CHECK (is_valid_name(name))
);
COMMENT ON TABLE workspaces IS 'A named stream of events of one tenant';

CREATE TABLE api_keys (
    key_id text PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants (id),
    workspace_id bigint NOT NULL,
    secret_sha256 bytea NOT NULL,
    name text NOT NULL,
    max_batch_events int,
    max_payload_bytes int,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT api_keys_workspace_fkey
        FOREIGN KEY (tenant_id, workspace_id) REFERENCES workspaces (tenant_id, id),
    CONSTRAINT api_keys_key_id_is_base62 CHECK (key_id ~ '^[0-9A-Za-z]{12}$'),
    CONSTRAINT api_keys_secret_sha256_has_32_bytes CHECK (octet_length(secret_sha256) = 32),
    CONSTRAINT api_keys_name_is_valid CHECK (is_valid_name(name)),
    CONSTRAINT api_keys_max_batch_events_is_positive CHECK (max_batch_events > 0),
    CONSTRAINT api_keys_max_payload_bytes_is_positive CHECK (max_payload_bytes > 0)
);
CREATE INDEX api_keys_tenant_id_workspace_id_idx ON api_keys (tenant_id, workspace_id);
COMMENT ON TABLE api_keys IS 'Secrets that may only send events, each into one workspace';
COMMENT ON COLUMN api_keys.key_id IS 'The public part of the key, between its two underscores';
COMMENT ON COLUMN api_keys.secret_sha256 IS 'SHA-256 of the whole key; the key itself is kept nowhere';
COMMENT ON COLUMN api_keys.max_batch_events IS 'NULL: the setting of the service applies';
COMMENT ON COLUMN api_keys.max_payload_bytes IS 'NULL: the setting of the service applies';

-- migrate:down
-- Forward only.
