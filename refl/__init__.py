"""Degradation, restorers, and reward feedback learning. Independent of Django."""
