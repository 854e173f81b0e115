"""PostgreSQL: rows in, outcomes out. Reads no meaning, makes no decision."""
