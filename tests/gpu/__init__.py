"""`python -m tests.gpu`: what a trainer wants to know of a GPU, in one command of under 8 minutes."""
