"""The one place where votes are counted: votes, consensus, and the guard of the gold set."""
