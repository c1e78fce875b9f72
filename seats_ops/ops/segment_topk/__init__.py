"""`segment_topk`: see `api.py` for the contract."""
