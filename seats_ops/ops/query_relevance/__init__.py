"""`query_relevance`: see `api.py` for the contract."""
