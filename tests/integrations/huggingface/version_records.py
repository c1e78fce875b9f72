"""What was written down of runs with other versions, and what docs/support.md says of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
RUNS = RESULTS / "versions.jsonl"
CELLS = RESULTS / "cells.json"


@dataclass(frozen=True)
class Run:
    """How tests went with some versions."""

    transformers: str
    torch: str
    triton: str
    python: str
    tests: str
    passed: int
    failed: int
    errors: int
    skipped: int
    revision: str
    date: str

    @property
    def what(self) -> tuple[str, ...]:
        """Versions and tests: of two runs that are alike in them the later one counts."""
        return self.tests, _number(self.transformers), _number(self.torch), _number(self.triton), _number(self.python)


def _number(version: str) -> str:
    """Sorts as versions do."""
    return ".".join(part.zfill(4) if part.isdigit() else part for part in version.partition("+")[0].split("."))


def runs() -> list[Run]:
    """The latest of each kind, sorted by versions."""
    lines = RUNS.read_text(encoding="utf-8").splitlines() if RUNS.exists() else []
    latest = {run.what: run for run in (Run(**json.loads(line)) for line in lines)}
    return [latest[what] for what in sorted(latest)]


def add_run(run: Run) -> None:
    RESULTS.mkdir(exist_ok=True)
    with RUNS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(run)) + "\n")


def cells() -> dict[str, dict[str, list[str]]]:
    """By version of transformers: feature -> an outcome per family, in the order of the table."""
    return json.loads(CELLS.read_text(encoding="utf-8")) if CELLS.exists() else {}


def add_cells(transformers: str, found: dict[str, list[str]]) -> None:
    known = cells() | {transformers: found}
    RESULTS.mkdir(exist_ok=True)
    ordered = dict(sorted(known.items(), key=lambda item: _number(item[0])))
    # A line per row, for whoever reads the file or a change of it.
    text = json.dumps(ordered).replace('": {"', '": {\n  "').replace('], "', '],\n  "').replace("}, ", "},\n ")
    CELLS.write_text(text + "\n", encoding="utf-8")


def differences(table: dict[str, list[str]], families: list[str]) -> list[tuple[str, str, str, str]]:
    """(feature, outcome, families, versions) where a version that was looked at has another cell than the table."""
    where: dict[tuple[str, str, str], list[str]] = {}
    for version, features in cells().items():
        for feature, outcomes in features.items():
            others: dict[str, list[str]] = {}
            for family, here, there in zip(families, outcomes, table[feature], strict=True):
                if here != there:
                    others.setdefault(here, []).append(family)
            for outcome, names in others.items():
                where.setdefault((feature, outcome, ", ".join(names)), []).append(version)
    return [(*key, ", ".join(versions)) for key, versions in where.items()]


def _row(run: Run) -> str:
    versions = (run.transformers, run.torch, run.triton, run.python)
    counts = (run.passed, run.skipped, run.failed + run.errors)
    entries = (*(version or "-" for version in versions), run.tests, *counts, run.revision, run.date)
    return f"| {' | '.join(map(str, entries))} |"


def section(table: dict[str, list[str]], families: list[str]) -> list[str]:
    """Lines of the page."""
    lines = [
        "## Versions",
        "",
        "What was run with which versions, as `python -m tests.integrations.huggingface.version_matrix` wrote it down.",
        "A version that is not listed was not run; one of transformers that is newer than all of them is tried by",
        "`attach` itself ([adapter.md](adapter.md)).",
        "",
        "| transformers | torch | Triton | Python | Tests | Passed | Skipped | Failed | Revision | Date |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_row(run) for run in runs()),
        "",
    ]
    other = differences(table, families)
    looked_at = ", ".join(cells())
    if not other:
        return [*lines, f"Cells were looked at with transformers {looked_at}, and are the same.", ""]
    return [
        *lines,
        f"Cells were looked at with transformers {looked_at}.",
        "These differ from the table; reasons are in [limitations.md](limitations.md):",
        "",
        "| Feature | | Families | transformers |",
        "| --- | --- | --- | --- |",
        *(f"| {feature} | {outcome} | {names} | {versions} |" for feature, outcome, names, versions in other),
        "",
    ]
