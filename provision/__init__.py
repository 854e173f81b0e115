"""The commands `provision` and `forebay`: migrations, tenants, keys, the embedded PostgreSQL."""
