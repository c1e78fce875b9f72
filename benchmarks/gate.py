"""Nothing is timed whose tests are red."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys

from rich.console import Console

from benchmarks.machine import ROOT


class RedTests(RuntimeError):
    """Tests of what was to be timed fail."""


# What the tests themselves need; it comes with the extra `test`.
TOOLS = ("pytest", "hypothesis")

# What compares the kernels with their references, on the device.
ON_A_GPU = ("tests/gpu/test_equal_reference.py", "tests/gpu/test_stages.py")


@functools.cache
def require_green(tests: tuple[str, ...], device_type: str) -> str:
    """Run them in a process of their own, once, on a GPU with those of its kernels; raises RedTests.

    Returns:
        "green", or why they were not run: what `make demo` installs has no tools for tests.
    """
    missing = [name for name in TOOLS if importlib.util.find_spec(name) is None]
    if missing:
        return f"not run: no {', no '.join(missing)} (pip install 'seats_ops[test]', or make test)"
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    command += ON_A_GPU if device_type != "cpu" else ()
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RedTests(f"tests of what is timed: expected all green, got\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    return "green"


@functools.cache
def say(tests: str) -> None:
    """Where nobody knows whether what is timed is right, that is said, once."""
    if tests != "green":
        Console().print(f"tests {tests}", style="yellow", markup=False, soft_wrap=True)
