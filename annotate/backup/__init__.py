"""Backup of a running site, and recovery into an empty database."""
