"""Statistics on plain numbers and arrays, independent of the database."""
