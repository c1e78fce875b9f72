"""`temporal_similarity`: see `api.py` for the contract."""
