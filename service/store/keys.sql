-- name: find_key
SELECT api_keys.key_id, api_keys.tenant_id, api_keys.workspace_id, api_keys.secret_sha256,
       api_keys.max_batch_events AS events_max, api_keys.max_payload_bytes AS bytes_max,
       api_keys.expires_at,
       (api_keys.revoked_at IS NOT NULL OR tenants.disabled_at IS NOT NULL) AS is_disabled
FROM api_keys
JOIN tenants ON tenants.id = api_keys.tenant_id
WHERE api_keys.key_id = $1
