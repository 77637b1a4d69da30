"""Statistics on arrays and plain values, independent of the database."""
