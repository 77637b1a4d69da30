"""Ranking of restorers by Bradley-Terry strength."""
