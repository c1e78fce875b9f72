"""Timings of every primitive, stage and whole prefill beside what users would write instead: `python -m benchmarks`."""

import time

STARTED = time.monotonic()
"""When this process began to load what it needs, which on some machines takes long."""
