"""Photographs to scored pairs, one module a stage: ingest, caption, degrade, restore, pair, score."""
