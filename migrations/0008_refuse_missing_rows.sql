-- A flush of one statement commits itself, so the service would learn only after the commit that a
-- trigger has skipped rows. With this function the statement raises an error before its commit.

-- migrate:up
CREATE FUNCTION refuse_missing_rows(table_name text) RETURNS boolean
LANGUAGE plpgsql
AS $$
BEGIN
    -- An SQLSTATE of Forebay, which the service handles.
    RAISE EXCEPTION 'table % did not store all rows of a flush', table_name
        USING ERRCODE = 'ZF001', TABLE = table_name,
            HINT = 'Look for a trigger that skips rows.';
END
$$;
COMMENT ON FUNCTION refuse_missing_rows(text) IS
    'Ends a flush when a table took fewer rows than it was given';

-- migrate:down
-- Forward only.
