"""Seconds, bytes and logits of a prefill, measured alike by the commands and by the benchmarks."""
