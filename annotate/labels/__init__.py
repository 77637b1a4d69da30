"""Labels: which answers count as votes, consensus among them, and the protection of the gold set."""
