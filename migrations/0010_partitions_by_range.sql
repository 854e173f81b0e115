-- Day partitions by the range that they cover, whatever their names: an operator's month partitions
-- count, and so does a table that was put in place of a detached one. A partition that cannot be made
-- is returned with the reason, and the other days are still made.
-- The functions without a version serve the release before this one.

-- migrate:up
CREATE FUNCTION event_partition_gaps_v1(from_day date, to_day date)
RETURNS TABLE (
    parent text, utc_day date, starts_at timestamptz, ends_at timestamptz, takes_rows boolean
)
LANGUAGE sql STABLE
-- The text of the bounds depends on these settings.
SET timezone = 'UTC'
SET datestyle = 'ISO'
AS $$
    WITH parents AS (
        SELECT partrelid AS oid, name, partdefid <> 0 AS has_default
        FROM unnest(ARRAY['events', 'rejected_events']) AS name
        JOIN pg_catalog.pg_partitioned_table ON partrelid = to_regclass(name)
        JOIN pg_catalog.pg_attribute
            ON attrelid = partrelid AND attname = 'received_at' AND attnum = partattrs[0]
        WHERE partstrat = 'r' AND partnatts = 1
    ), bounds AS (
        SELECT inhparent, regexp_match(
            pg_get_expr(relpartbound, child.oid), '^FOR VALUES FROM \((.+)\) TO \((.+)\)$'
        ) AS bound
        FROM pg_catalog.pg_inherits
        JOIN pg_catalog.pg_class AS child ON child.oid = inhrelid
        -- A partition whose DETACH CONCURRENTLY has begun takes no rows any more.
        WHERE inhparent IN (SELECT oid FROM parents) AND NOT inhdetachpending
    ), covered AS (
        SELECT inhparent, range_agg(tstzrange(
            CASE WHEN bound[1] <> 'MINVALUE' THEN trim(BOTH '''' FROM bound[1])::timestamptz END,
            CASE WHEN bound[2] <> 'MAXVALUE' THEN trim(BOTH '''' FROM bound[2])::timestamptz END
        )) AS ranges
        FROM bounds
        WHERE bound IS NOT NULL
        GROUP BY inhparent
    )
    SELECT name, day, lower(gap), upper(gap), has_default
    FROM parents
    LEFT JOIN covered ON inhparent = oid
    CROSS JOIN LATERAL (
        SELECT from_day + number AS day FROM generate_series(0, to_day - from_day) AS number
    ) AS days
    CROSS JOIN LATERAL unnest(
        tstzmultirange(tstzrange(day, day + 1)) - coalesce(ranges, '{}'::tstzmultirange)
    ) AS gap
    ORDER BY 1, 3
$$;
COMMENT ON FUNCTION event_partition_gaps_v1(date, date) IS
    'Days (UTC, both included), or parts of days, for which events or rejected_events has no partition; takes_rows: a DEFAULT partition takes them';

-- CREATE and then ATTACH, not CREATE ... PARTITION OF: the latter needs a lock on the parent that
-- waits for every open flush, and later flushes wait behind it. If the name is taken, for example
-- by a detached partition that was not dropped, a number is added.
CREATE FUNCTION make_event_partition_v1(
    parent text, wanted_name text, starts_at timestamptz, ends_at timestamptz
) RETURNS text
LANGUAGE plpgsql
SET timezone = 'UTC'
SET datestyle = 'ISO'
SET lock_timeout = '500ms'
AS $$
DECLARE
    partition text := wanted_name;
    number int := 1;
BEGIN
    WHILE EXISTS (
        SELECT FROM pg_catalog.pg_class AS taken
        JOIN pg_catalog.pg_class AS parent_table ON parent_table.oid = parent::regclass
        WHERE taken.relname = partition AND taken.relnamespace = parent_table.relnamespace
    ) LOOP
        number := number + 1;
        partition := wanted_name || '_' || number;
    END LOOP;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', partition, parent);
    EXECUTE format(
        'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        parent, partition, starts_at, ends_at
    );
    RETURN partition;
END
$$;
COMMENT ON FUNCTION make_event_partition_v1(text, text, timestamptz, timestamptz) IS
    'Makes one partition and returns its name: the wanted name, with a number if it is taken';

CREATE FUNCTION lock_holders_v1(relation regclass, modes text[]) RETURNS text
LANGUAGE sql STABLE
AS $$
    SELECT string_agg(DISTINCT concat_ws(
        ', ', 'pid ' || pg_locks.pid, nullif(application_name, ''), usename, state,
        'transaction open for ' || date_trunc('second', clock_timestamp() - xact_start)
    ), '; ')
    FROM pg_catalog.pg_locks
    LEFT JOIN pg_catalog.pg_stat_activity ON pg_stat_activity.pid = pg_locks.pid
    WHERE pg_locks.relation = lock_holders_v1.relation
        AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
        AND granted AND mode = ANY (modes) AND pg_locks.pid <> pg_backend_pid()
$$;
COMMENT ON FUNCTION lock_holders_v1(regclass, text[]) IS
    'Other sessions that hold one of these lock modes on a table';

-- SECURITY DEFINER: a role that writes events need not own the tables. The arguments are days only.
CREATE FUNCTION ensure_event_partitions_v1(from_day date, to_day date)
RETURNS TABLE (
    parent text, utc_day date, made text, problem text, advice text, takes_rows boolean
)
LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    gap record;
    wanted_name text;
    default_partition regclass;
    has_rows boolean;
    blocked_parent text;
    pending_partition regclass;
    state text;
BEGIN
    IF to_day - from_day > 400 THEN
        RAISE EXCEPTION 'partitions for at most 400 days at once, asked for % to %', from_day, to_day
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT EXISTS (SELECT FROM event_partition_gaps_v1(from_day, to_day)) THEN
        RETURN;
    END IF;
    -- One call at a time. A waiting call then takes a new snapshot and sees the partitions made by
    -- the previous call.
    PERFORM pg_advisory_xact_lock(hashtext('forebay'), hashtext('ensure_event_partitions'));
    FOR gap IN SELECT * FROM event_partition_gaps_v1(from_day, to_day) LOOP
        parent := gap.parent;
        utc_day := gap.utc_day;
        takes_rows := gap.takes_rows;
        made := NULL;
        IF blocked_parent IS NOT DISTINCT FROM parent THEN
            -- The lock timeout for this table has expired: problem and advice are the same.
            RETURN NEXT;
            CONTINUE;
        END IF;
        problem := NULL;
        advice := NULL;
        SELECT partdefid INTO default_partition FROM pg_catalog.pg_partitioned_table
        WHERE partrelid = parent::regclass AND partdefid <> 0;
        BEGIN
            has_rows := false;
            IF default_partition IS NOT NULL THEN
                EXECUTE format('SELECT EXISTS (SELECT FROM %s)', default_partition) INTO has_rows;
            END IF;
            IF has_rows THEN
                -- ATTACH would scan the DEFAULT partition, under a lock that blocks its writers.
                problem := format('the DEFAULT partition %s holds rows', default_partition);
                advice := 'move its rows to partitions of their days and detach it';
            ELSE
                wanted_name := parent || to_char(
                    gap.starts_at AT TIME ZONE 'UTC',
                    CASE WHEN gap.starts_at = utc_day::timestamp AT TIME ZONE 'UTC'
                        THEN '_YYYYMMDD' ELSE '_YYYYMMDD_HH24MISS' END
                );
                made := make_event_partition_v1(parent, wanted_name, gap.starts_at, gap.ends_at);
                takes_rows := true;
                IF made <> wanted_name THEN
                    problem := format('%s is not a partition, and has the name of one', wanted_name);
                    advice := format('rows of this day go to %s; rename or drop %s', made, wanted_name);
                END IF;
            END IF;
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT, state = RETURNED_SQLSTATE;
            SELECT inhrelid INTO pending_partition FROM pg_catalog.pg_inherits
            WHERE inhparent = parent::regclass AND inhdetachpending;
            advice := 'SQLSTATE ' || state;
            IF state = '55P03' THEN
                blocked_parent := parent;
                advice := 'waiting for ' || coalesce(
                    lock_holders_v1(parent::regclass, ARRAY[
                        'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
                        'ExclusiveLock', 'AccessExclusiveLock']),
                    lock_holders_v1(default_partition, ARRAY['AccessShareLock', 'RowExclusiveLock']),
                    'a session that has ended its transaction'
                );
            ELSIF state = '42501' THEN
                advice := 'run provision status: it names the right that is missing';
            ELSIF state = '42P17' AND pending_partition IS NOT NULL THEN
                advice := format('ALTER TABLE %I DETACH PARTITION %s FINALIZE', parent, pending_partition);
            END IF;
        END;
        RETURN NEXT;
    END LOOP;
END
$$;
COMMENT ON FUNCTION ensure_event_partitions_v1(date, date) IS
    'Makes the missing partitions (UTC days, both included) of events and rejected_events; returns what was made, and what was not with the reason';

-- SECURITY DEFINER: fix search_path and revoke EXECUTE from PUBLIC.
DO $$
BEGIN
    EXECUTE format(
        'ALTER FUNCTION ensure_event_partitions_v1(date, date) SET search_path = %I, pg_temp',
        current_schema()
    );
END
$$;
REVOKE EXECUTE ON FUNCTION ensure_event_partitions_v1(date, date) FROM PUBLIC;

-- migrate:down
-- Forward only.
