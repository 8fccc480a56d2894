"""Benchmarks: `python -m tests.bench NAME`, each figure a ratio of two things measured in one run."""
