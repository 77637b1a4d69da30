"""Pipeline from photographs to scored pairs, one module per stage: ingest, caption, degrade, restore, pair, score."""
