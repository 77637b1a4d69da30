"""The HTTP API under /api/v1/, for the desk and for scripts."""
