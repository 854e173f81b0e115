-- name: quarantine_bytes
-- Reads the sizes of the files, not the rows. The partitions of a cluster's other nodes do not count.
SELECT coalesce(sum(pg_total_relation_size(relid)), 0)::bigint
FROM pg_partition_tree(to_regclass('rejected_events'))
WHERE isleaf
