-- name: find_keys
-- expires_at is an end time in the future; the service compares it with its clock. It is null for a
-- time from the year 9999 on, such as infinity, because Python cannot represent it.
SELECT api_keys.key_id, api_keys.tenant_id, api_keys.workspace_id, api_keys.secret_sha256,
       api_keys.max_batch_events AS events_max, api_keys.max_payload_bytes AS bytes_max,
       api_keys.events_per_second,
       CASE WHEN ending.at > now() AND ending.at < '9999-01-01Z' THEN ending.at END AS expires_at,
       coalesce(ending.at <= now(), false) AS is_disabled
FROM api_keys
JOIN tenants ON tenants.id = api_keys.tenant_id
CROSS JOIN LATERAL (
    SELECT least(api_keys.expires_at, api_keys.revoked_at, tenants.disabled_at) AS at
) AS ending
WHERE api_keys.key_id = ANY ($1)
