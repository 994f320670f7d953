"""Benchmarks against jax, torch, autograd and NumPy: `python -m benchmarks`, or `make bench`."""
