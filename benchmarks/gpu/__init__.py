"""A first day on a GPU in one command: `python -m benchmarks gpu`."""
