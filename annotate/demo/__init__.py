"""The demo: portraits, simulated annotators, and the tour from photographs to a tuned restorer."""
