"""Writes. Keyword-only functions, one transaction each; reads live in `annotate.labels`."""
