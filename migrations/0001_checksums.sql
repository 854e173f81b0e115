-- What was applied, and was it a breaking change: kept by `provision migrate`, which refuses to go
-- on when an applied file has been edited. The service reads is_breaking to know whether a schema
-- newer than itself may still be written to.

-- migrate:up
CREATE TABLE schema_checksums (
    version text PRIMARY KEY,
    sha256 text NOT NULL,
    is_breaking boolean NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT schema_checksums_sha256_is_hex CHECK (sha256 ~ '^[0-9a-f]{64}$')
);
COMMENT ON TABLE schema_checksums IS 'SHA-256 of each applied migration file, and whether it is breaking';

-- migrate:down
-- Forward only: a mistake is mended by the next migration.
