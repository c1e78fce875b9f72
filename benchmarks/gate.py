"""Nothing is timed whose tests are red."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

from benchmarks.machine import ROOT


class RedTests(RuntimeError):
    """Tests of what was to be timed fail."""


# What compares the kernels with their references, on the device.
ON_A_GPU = ("tests/gpu/test_equal_reference.py", "tests/gpu/test_stages.py")


@functools.cache
def require_green(tests: tuple[str, ...], device_type: str) -> None:
    """Run them in a process of their own, once, on a GPU with those of its kernels; raises RedTests."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    command += ON_A_GPU if device_type != "cpu" else ()
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RedTests(f"tests of what is timed: expected all green, got\n{run.stdout[-2000:]}")
