"""Benchmarks: `python -m tests.bench.<name>` prints JSON with the machine and the versions."""
