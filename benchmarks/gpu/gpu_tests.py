"""The tests that need a device, in processes of their own."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from typing import Any

import torch

from benchmarks.gpu import processes
from benchmarks.gpu.steps import Rows, Setting, Step
from benchmarks.machine import ROOT

SECONDS = {"small_cases": 40, "equal_reference": 60, "stages": 40, "large_offsets": 40}
# Most of the time goes into compiling kernels. Tests of tensors beyond 2^31 elements have the memory to themselves.
MOST_WORKERS = {"large_offsets": 1}
# Less than what a step is given, so that what was seen until then is counted.
LIMIT = 150
RESULT = re.compile(r"(?:^|\s)(PASSED|FAILED|SKIPPED|ERROR)(?=\s|$)")
LOG = 6000


def steps(setting: Setting) -> list[Step]:
    return [Step(f"tests/{name}", SECONDS[name], functools.partial(run, name, setting)) for name in setting.tests]


def run(name: str, setting: Setting) -> Rows:
    """Counts of one file, also of what was done before the time was up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = max(1, min(MOST_WORKERS.get(name, 8), cores // 2))
    # References run on the CPU: every worker has its share of the cores. A rehearsal may have neighbours.
    variables = {"OMP_NUM_THREADS": "1" if setting.rehearsed else str(cores // workers), **only(setting.device)}
    parallel = ["-n", str(workers)] if workers > 1 and importlib.util.find_spec("xdist") else []
    stand_in = ["-p", "benchmarks.gpu.rehearsed_tests"] if setting.rehearsed else []
    output, code = run_pytest([*parallel, *stand_in, f"tests/gpu/test_{name}.py"], LIMIT, variables=variables)
    row = {"name": f"tests/{name}", **counts(output), "ended": code is not None, "code": code}
    if not row["passed"] + row["failed"]:
        raise RuntimeError(f"tests/gpu/test_{name}.py: expected tests to run on the device, got\n{output[-LOG:]}")
    wrong = said_wrong(row["failed"], code, LIMIT)
    return [{**row, "wrong": wrong, "log": output[-LOG:]} if wrong else row]


def only(device: torch.device) -> dict[str, str]:
    """The variable with which a process sees this device and no other: tests take the first that they see."""
    names = ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES") if torch.version.hip else ("CUDA_VISIBLE_DEVICES",)
    name = next((name for name in names if os.environ.get(name)), "CUDA_VISIBLE_DEVICES")
    visible = [each.strip() for each in os.environ.get(name, "").split(",") if each.strip()]
    index = device.index or 0
    return {name: visible[index] if visible else str(index)}


def said_wrong(failed: int, code: int | None, limit: float) -> str:
    """What keeps tests from being green; empty if nothing does."""
    if failed:
        return f"{failed} tests failed"
    if code is None:
        return f"tests: expected an end within {limit:.0f} s"
    # One whose process dies in the middle has no failure to show.
    return f"tests: pytest ended with code {code}, expected 0" if code else ""


def run_pytest(
    arguments: list[str], seconds: float, before: tuple[str, ...] = (), variables: dict[str, str] | None = None
) -> tuple[str, int | None]:
    """Output and exit code, None if the time was up before it ended; `before` is a program that runs it."""
    command = [*before, sys.executable, "-m", "pytest", "-v", "-rfE", "--tb=short", "-p", "no:cacheprovider"]
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"} | (variables or {})
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        process: Any = {"cwd": ROOT, "env": environment, "stdout": file, "stderr": subprocess.STDOUT}
        code = processes.run([*command, *arguments], seconds, **process)
        file.seek(0)
        return file.read(), code


def counts(output: str) -> dict[str, Any]:
    """Of what `pytest -v` wrote, up to where it was when it ended."""
    lines, _, summary = output.partition("short test summary info")
    seen = Counter(match.group(1) for match in map(RESULT.search, lines.splitlines()) if match)
    failures = re.findall(r"^(?:FAILED|ERROR) (\S+(?: - .*)?)$", summary, re.MULTILINE)
    return {
        "passed": seen["PASSED"],
        "failed": seen["FAILED"] + seen["ERROR"],
        "skipped": seen["SKIPPED"],
        "failures": failures,
    }
