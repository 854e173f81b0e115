-- A limit of the events that a key may send per second. Workers learn of a change as of the other
-- limits of a key, so the trigger has to name the new column.

-- migrate:up
ALTER TABLE api_keys
    ADD COLUMN events_per_second int,
    ADD CONSTRAINT api_keys_events_per_second_is_not_negative CHECK (events_per_second >= 0);
COMMENT ON COLUMN api_keys.events_per_second IS
    'NULL: the setting of the service applies; 0: no limit';

CREATE OR REPLACE TRIGGER api_keys_notify
AFTER INSERT OR DELETE OR UPDATE OF
    key_id, tenant_id, workspace_id, secret_sha256, max_batch_events, max_payload_bytes,
    events_per_second, expires_at, revoked_at
ON api_keys
FOR EACH ROW EXECUTE FUNCTION notify_key_change();

-- migrate:down
-- Forward only.
