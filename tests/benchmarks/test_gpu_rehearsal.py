"""`python -m benchmarks gpu --rehearse` as a stranger runs it: in its own process, killed in the middle, run again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import torch

from benchmarks.gpu.day import all_steps
from benchmarks.gpu.record import DONE, FILE
from benchmarks.gpu.steps import Setting
from benchmarks.machine import ROOT
from benchmarks.report.page import PAGE
from benchmarks.results import read

STEPS = [step.name for step in all_steps(Setting.rehearsal(torch.device("cuda")))]


def started(folder: Path) -> subprocess.Popen[str]:
    """On PYTHONPATH alone. Floors are another test's business: a ready-made environment may be below them."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "benchmarks", "gpu", "--rehearse", "--anyway", "--output", str(folder)]
    options = {"cwd": ROOT, "env": environment, "text": True}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)


def marks(folder: Path) -> Counter[str]:
    rows = read(folder / FILE) if (folder / FILE).exists() else []
    return Counter(row["step"] for row in rows if row["name"].startswith("step/"))


def test_a_rehearsal_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    first = started(tmp_path)
    while first.poll() is None and len(marks(tmp_path)) < 5:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = marks(tmp_path)
    assert 5 <= len(before) < len(STEPS), first.stdout.read() if first.stdout else ""

    second = started(tmp_path)
    said, _ = second.communicate()
    assert second.returncode == 0, said
    # Every step once: nothing was lost, nothing was done again.
    assert marks(tmp_path) == Counter(STEPS)
    assert f": {len(STEPS) - len(before)} steps, in" in said

    rows = read(tmp_path / FILE)
    assert all(row["rehearsed"] and row["device"] == "Fake H100" for row in rows)
    assert {row["status"] for row in rows if row["name"].startswith("step/")} == {DONE}
    names = {row["name"] for row in rows}
    assert {"device", "ceilings", "compact/drop", "capture/StagePruner", "prefill/10", "sanitizer"} <= names
    assert {path.name for path in tmp_path.iterdir()} == {FILE, PAGE, "roofline.png", "breakdown.png"}

    page = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert page.startswith("# ⚠ REHEARSAL ⚠\n# NOTHING ON THIS PAGE WAS MEASURED ON A GPU\n")
    assert times_of(page) == {"(rehearsed)", "(rehearsed) -> (rehearsed)", "–"}


def times_of(page: str) -> set[str]:
    """Cells of all columns that hold a time, or something divided by one."""
    found: set[str] = set()
    timed: list[int] = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if not cells:
            timed = []
        elif "---" in cells:
            pass
        elif not timed:
            timed = [i for i, head in enumerate(cells) if re.search(r", ms$|^of |^ours, of|speed-up", head)] or [-1]
        elif timed != [-1]:
            found |= {cells[i] for i in timed}
    return found
