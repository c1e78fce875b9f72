"""`max_min_diversity`: see `api.py` for the contract."""
