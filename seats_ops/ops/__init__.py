"""The six primitives: one folder each with `api.py` (contract, checks, dispatch) and `reference.py` (PyTorch)."""
