"""The Forebay service: events over HTTP into PostgreSQL, exactly once."""
