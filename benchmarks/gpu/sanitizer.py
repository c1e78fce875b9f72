"""Memory errors of the kernels on the device, where NVIDIA's compute-sanitizer is installed."""

from __future__ import annotations

import functools
import os
import re
import shutil

from benchmarks.gpu.gpu_tests import LOG, counts, only, run_pytest, said_wrong
from benchmarks.gpu.steps import Rows, Setting, Step

TOOL = "compute-sanitizer"
LIMIT = 170


def steps(setting: Setting) -> list[Step]:
    return [Step("sanitizer", 100 if found() else 1, functools.partial(_rows, setting))]


def found() -> str | None:
    """Its path: the toolkit is seldom on PATH."""
    toolkit = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    return shutil.which(TOOL) or shutil.which(TOOL, path=os.path.join(toolkit, "bin"))


def _rows(setting: Setting) -> Rows:
    path = found()
    if path is None:
        return [{"name": "sanitizer", "summary": f"{TOOL} is not installed"}]
    tool = (path, "--tool", "memcheck", "--target-processes", "all")
    # In memory that torch keeps for later nothing is out of bounds.
    plain = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1", **only(setting.device)}
    output, code = run_pytest(["tests/gpu/test_small_cases.py"], LIMIT, tool, plain)
    summaries = re.findall(r"ERROR SUMMARY: (\d+) errors?", output)
    summary = f"{sum(map(int, summaries))} errors" if summaries else "no summary"
    # The tool's own lines say ERROR where no test does.
    of_pytest = "\n".join(line for line in output.splitlines() if not line.startswith("========= "))
    row = {"name": "sanitizer", **counts(of_pytest), "ended": code is not None, "summary": summary}
    wrong = said_wrong(row["failed"], code, LIMIT)
    if summary != "0 errors":
        wrong = f"{TOOL}: {summary}, expected 0 errors"
    return [{**row, "wrong": wrong, "log": output[-LOG:]} if wrong else row]
