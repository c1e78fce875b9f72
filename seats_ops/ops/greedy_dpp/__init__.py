"""`greedy_dpp`: see `api.py` for the contract."""
