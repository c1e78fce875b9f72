"""Saliency and relevance, as the model itself would compute them."""
