-- The key that sent a rejected event. Several keys may send to one workspace, and the operator looks
-- for the sender that has to be corrected.

-- migrate:up
ALTER TABLE rejected_events ADD COLUMN key_id text;
COMMENT ON COLUMN rejected_events.key_id IS
    'The key that sent the event; NULL in rows of releases before this column';

-- migrate:down
-- Forward only.
