"""The commands, and what they need: schema, tenants, keys, the embedded PostgreSQL."""
