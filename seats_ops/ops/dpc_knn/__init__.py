"""`dpc_knn`: see `api.py` for the contract."""
