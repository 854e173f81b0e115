-- A row id no longer begins with the time. Each worker counts from a random number on, so that ids
-- need no clock and no lease; a row is named by its whole primary key.

-- migrate:up
COMMENT ON COLUMN events.id IS
    'Number from Forebay, unique together with tenant_id and received_at, not in the order of time; shown as base36(id)';

-- migrate:down
-- Forward only.
