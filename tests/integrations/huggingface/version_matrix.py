"""Runs a suite with the versions that are installed and writes down how it went, for docs/support.md.

`python -m tests.integrations.huggingface.version_matrix` runs tests/integrations; `--every 20` a twentieth of it; names
of other files or folders run those.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.integrations.huggingface.version_records import RUNS, Run, add_run

ROOT = Path(__file__).parents[3]


def installed(package: str) -> str:
    """Its version, or nothing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def pytest(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "--benchmark-disable", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def counts(report: Path) -> dict[str, int]:
    """Tests by outcome, of a report in JUnit's format."""
    suites = ElementTree.parse(report).getroot().iter("testsuite")
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in suites:
        for name in totals:
            totals[name] += int(suite.get(name, 0))
    bad = totals["failures"] + totals["errors"] + totals["skipped"]
    return {
        "passed": totals["tests"] - bad,
        "failed": totals["failures"],
        "errors": totals["errors"],
        "skipped": totals["skipped"],
    }


def run(targets: list[str], every: int, workers: str) -> Run:
    """Run tests, or every so-manieth of them, and count."""
    from seats_ops.testing.parity import revision

    with tempfile.TemporaryDirectory() as folder:
        report, chosen = Path(folder) / "report.xml", targets
        if every > 1:
            listed = pytest("--collect-only", *targets).stdout.splitlines()
            ids = Path(folder) / "ids.txt"
            ids.write_text("\n".join([line for line in listed if "::" in line][every // 2 :: every]), encoding="utf-8")
            chosen = [f"@{ids}"]
        shown = pytest(*chosen, "-n", workers, "--dist", "worksteal", f"--junitxml={report}", "--tb=short", "-rfE")
        print(shown.stdout)
        found = counts(report)
    return Run(
        transformers=installed("transformers"),
        torch=installed("torch"),
        triton=installed("triton"),
        python=platform.python_version(),
        tests=" ".join(targets) + ("" if every == 1 else f", every {every}th"),
        **found,
        revision=revision(),
        date=date.today().isoformat(),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", default=["tests/integrations"])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--workers", default="auto")
    given = parser.parse_args()
    result = run(given.targets, given.every, given.workers)
    add_run(result)
    from tests.integrations.huggingface.support import PAGE, page

    PAGE.write_text(page(), encoding="utf-8")
    print(f"{result}\nwritten to {RUNS}")
