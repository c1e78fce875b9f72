"""`compact`: see `api.py` for the contract."""
