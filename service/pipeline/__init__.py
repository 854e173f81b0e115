"""What happens to an event between the wire and the store. No HTTP, no SQL."""
