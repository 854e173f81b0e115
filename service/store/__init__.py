"""PostgreSQL: stores rows, decides the outcome of each event, and knows whether it can."""
