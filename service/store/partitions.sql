-- name: find_partition_gaps
SELECT parent, utc_day, takes_rows FROM event_partition_gaps_v1($1::date, $2::date)

-- name: ensure_partitions
SELECT parent, utc_day, made, problem, advice, takes_rows
FROM ensure_event_partitions_v1($1::date, $2::date)
