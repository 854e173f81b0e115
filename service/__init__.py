"""The Forebay service: receives events over HTTP, and stores each in PostgreSQL exactly once."""
