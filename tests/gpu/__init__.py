"""`python -m tests.gpu`: correctness, speed and memory of all trainings on a GPU, in under 8 minutes."""
