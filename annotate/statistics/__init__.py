"""Statistics on plain numbers and arrays: no database."""
