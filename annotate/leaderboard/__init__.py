"""Restorers ranked by Bradley-Terry strength."""
