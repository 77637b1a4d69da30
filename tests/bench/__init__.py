"""Benchmarks. `python -m tests.bench.<name>` prints the results with the machine and the versions."""
