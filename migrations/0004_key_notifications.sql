-- Whatever changes what a key may do is announced on the channel forebay_keys, the key's public id
-- as payload: every worker then forgets what it remembers of that key. Triggers, so that a change
-- by hand counts too. last_used_at is not among the columns: it changes all the time and means
-- nothing to a cache.

-- migrate:up
CREATE FUNCTION notify_key_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('forebay_keys', OLD.key_id);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        -- The same notification twice in a transaction is sent once.
        PERFORM pg_notify('forebay_keys', NEW.key_id);
    END IF;
    RETURN NULL;
END
$$;

-- An insert counts because workers remember unknown keys as well.
CREATE TRIGGER api_keys_notify
AFTER INSERT OR DELETE OR UPDATE OF
    key_id, tenant_id, workspace_id, secret_sha256, max_batch_events, max_payload_bytes,
    expires_at, revoked_at
ON api_keys
FOR EACH ROW EXECUTE FUNCTION notify_key_change();

CREATE FUNCTION notify_tenant_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM pg_notify('forebay_keys', key_id) FROM api_keys WHERE tenant_id = NEW.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER tenants_notify
AFTER UPDATE OF disabled_at ON tenants
FOR EACH ROW EXECUTE FUNCTION notify_tenant_change();

-- migrate:down
-- Forward only.
