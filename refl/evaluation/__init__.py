"""Evaluation of tuned restorers: paired differences, tables, ablations."""
