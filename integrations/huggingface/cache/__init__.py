"""Caches of pruned prompts, in prefill and decoding."""
