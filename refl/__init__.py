"""Degradation, restorers and (next) reward feedback learning. Knows no Django."""
