"""`attention_received`: see `api.py` for the contract."""
