"""`group_budget`: see `api.py` for the contract."""
