"""Makes a bare place ready: database, schema, tenants, keys; and holds the commands."""
