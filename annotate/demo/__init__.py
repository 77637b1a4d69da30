"""Demo data, simulated annotators, and the tour from photographs to a tuned restorer."""
