"""`merge_rows`: see `api.py` for the contract."""
