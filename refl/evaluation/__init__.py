"""How a tuned restorer is judged: paired differences, tables, ablations."""
