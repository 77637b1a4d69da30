"""Management commands, with their shared options and progress display."""
