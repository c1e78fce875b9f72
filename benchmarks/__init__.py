"""Timings of every primitive, stage and whole prefill beside what users would write instead: `python -m benchmarks`."""
