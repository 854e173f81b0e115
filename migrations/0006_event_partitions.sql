-- Day partitions of events and rejected_events, made ahead of time by whoever runs: at boot, hourly,
-- and when a row finds none.

-- migrate:up
-- CREATE and then ATTACH, not CREATE ... PARTITION OF: the latter needs a lock on the parent that
-- waits for every open flush, and holds up the flushes behind it; ATTACH lets them write on.
CREATE FUNCTION attach_event_partition(parent text, utc_day date) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    partition text := parent || to_char(utc_day, '_YYYYMMDD');
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', partition, parent);
    EXECUTE format(
        'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        parent,
        partition,
        to_char(utc_day, 'YYYY-MM-DD') || ' 00:00:00+00',
        to_char(utc_day + 1, 'YYYY-MM-DD') || ' 00:00:00+00'
    );
END
$$;

CREATE FUNCTION missing_event_partitions(from_day date, to_day date)
RETURNS TABLE (parent text, utc_day date)
LANGUAGE sql STABLE
AS $$
    -- Attached, not merely there: a detached table of that name must be an error, never a silence.
    SELECT parent, from_day + day_number
    FROM unnest(ARRAY['events', 'rejected_events']) AS parent
    CROSS JOIN generate_series(0, to_day - from_day) AS day_number
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_inherits
        JOIN pg_catalog.pg_class AS child ON child.oid = inhrelid
        WHERE inhparent = parent::regclass
            AND child.relname = parent || to_char(from_day + day_number, '_YYYYMMDD')
    )
    ORDER BY 1, 2
$$;

CREATE FUNCTION ensure_event_partitions(from_day date, to_day date) RETURNS int
LANGUAGE plpgsql
AS $$
DECLARE
    missing record;
    made int := 0;
BEGIN
    IF to_day - from_day > 400 THEN
        RAISE EXCEPTION 'partitions for at most 400 days at once, asked for % to %', from_day, to_day
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT EXISTS (SELECT FROM missing_event_partitions(from_day, to_day)) THEN
        RETURN 0;
    END IF;
    -- One at a time. Whoever waited sees below, in a new snapshot, what the one before has made.
    PERFORM pg_advisory_xact_lock(hashtext('forebay'), hashtext('ensure_event_partitions'));
    FOR missing IN SELECT * FROM missing_event_partitions(from_day, to_day) LOOP
        PERFORM attach_event_partition(missing.parent, missing.utc_day);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;
COMMENT ON FUNCTION ensure_event_partitions(date, date) IS
    'Makes the missing day partitions (UTC, both days included) of events and rejected_events; returns how many';

-- migrate:down
-- Forward only.
