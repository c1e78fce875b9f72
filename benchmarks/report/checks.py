"""What a page says of whether the numbers are right."""

from __future__ import annotations

from typing import Any

from benchmarks.report.numbers import NOTHING, table
from benchmarks.report.speed import waits

Rows = dict[str, dict[str, Any]]


def tests(rows: Rows) -> str:
    """Counts by file, and every failure."""
    files = {name.removeprefix("tests/"): row for name, row in rows.items() if name.startswith("tests/")}
    if not files:
        return ""
    body = [
        [f"`tests/gpu/test_{name}.py`", row["passed"], row["failed"], row["skipped"], "yes" if row["ended"] else "no"]
        for name, row in files.items()
    ]
    failures = [f"- {failure}" for row in files.values() for failure in row["failures"]]
    return "\n".join([table(["File", "passed", "failed", "skipped", "ended in time"], body), "", *failures]).rstrip()


def parity(rows: Rows) -> str:
    """How many decisions differ and how wide a gap was crossed, or how far scores are off, and what of it is wrong."""
    found = {name.removeprefix("parity/"): row for name, row in rows.items() if name.startswith("parity/")}
    body = []
    for name, row in found.items():
        kernel, _, dtype = name.removeprefix("goldens/").rpartition("/")
        margin, error = row.get("margin"), row.get("error")
        body.append(
            [
                f"`{kernel}`",
                dtype,
                row["beside"],
                f"{row['decided']:,}",
                row.get("differing", NOTHING),
                NOTHING if margin is None else f"{margin:.1e}",
                NOTHING if error is None else f"{error:.1e}",
                row.get("certificate", NOTHING),
                f"**{row['wrong']}**" if "wrong" in row else "",
            ]
        )
    heads = [
        "Kernel",
        "dtype",
        "beside",
        "decided",
        "differ",
        "widest gap crossed",
        "largest error",
        "certificate",
        "wrong",
    ]
    return table(heads, body) if body else ""


def capture(rows: Rows) -> str:
    """Of the operators; primitives and stages have it beside their times."""
    found = {name.removeprefix("capture/"): row for name, row in rows.items() if name.startswith("capture/")}
    body = [[f"`{name}`", row["capture"], row["launches"], waits(row)] for name, row in found.items()]
    return table(["Operator", "CUDA graph", "launches", "host waits"], body) if body else ""


def sanitizer(rows: Rows) -> str:
    row = rows.get("sanitizer")
    if row is None:
        return ""
    if "ended" not in row:
        return f"{row['summary'].capitalize()}."
    ended = "" if row["ended"] else ", cut off"
    return f"compute-sanitizer memcheck: {row['summary']} in {row['passed'] + row['failed']} tests{ended}."
