"""Processes of a day on a GPU: none outlives its time or who started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.gpu import processes
from benchmarks.machine import ROOT

CHILD = (
    "import subprocess, sys, time; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); time.sleep(600)"
)


def gone(number: int) -> bool:
    """Within some seconds; a zombie that nobody collected is gone, too."""
    for _ in range(100):
        state = Path(f"/proc/{number}/stat")
        try:
            if state.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc")
def test_what_is_out_of_time_ends_with_what_it_started(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file:
        assert processes.run([sys.executable, "-c", CHILD], 3, stdout=file) is None
    assert gone(int((tmp_path / "out").read_text())) and processes.group.value == 0
    assert processes.run([sys.executable, "-c", "raise SystemExit(7)"], 60) == 7


SCRIPT = f"""
import multiprocessing, os, sys, time
from benchmarks.gpu import processes

def worker(group):
    os.setsid()
    processes.group = group
    processes.follow_parent()
    print(os.getpid(), flush=True)
    processes.run([sys.executable, "-c", {CHILD!r}], 600)

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    context.Process(target=worker, args=(context.RawValue("i", 0),), daemon=True).start()
    time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc")
def test_a_worker_does_not_outlive_who_started_it(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, str(tmp_path / "parent.py")]
    parent = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    numbers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert all(map(gone, numbers))
