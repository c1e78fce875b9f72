"""Answer all questions with the benchmark of the checkout, then show the table."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

import seats_ops

from .share_progress import share_progress
from .tables import new_table


def find_benchmarks() -> None:
    """Makes `benchmarks` importable, which no wheel contains. Raises ImportError: this is no checkout."""
    root = Path(seats_ops.__file__).parents[1]
    if not (root / "benchmarks" / "quality").is_dir():
        raise ImportError(
            f"quality runs from a checkout of seats_ops, which has the benchmark and its trained models; {root} has no "
            "benchmarks/quality. In a checkout: pip install -e '.[quality]', then seats-ops quality"
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))


def run_quality(console: Console, *, smoke: bool, output: Path, models: tuple[str, ...], workers: int | None) -> None:
    """Adds to `output` what it lacks, and prints accuracies by what an answer needs.

    Raises:
        ImportError: no checkout. FileNotFoundError, ValueError: models that are not there or have no layers; results of
            another revision in `output`.
    """
    find_benchmarks()
    from benchmarks.quality import plan, steps
    from benchmarks.quality.outcomes import Results

    extent = plan.SMOKE if smoke else plan.FULL
    paths = steps.trained_in(steps.COMMITTED.models, models)
    if smoke and not models:
        paths = paths[:1]
    items = output / steps.items_file(extent)
    try:
        with share_progress(Console(stderr=True)) as told:
            said = "{} chunks of 100 items, all contenders".format
            steps.answer_all(paths, items, extent, lambda done, of: told(said(of), done / of), workers)
    except KeyboardInterrupt:
        console.print(f"Interrupted. The same command goes on from {items}", markup=False, soft_wrap=True)
        raise
    results = Results(items)
    for retention in extent.retentions:
        _show(console, results, retention)
    console.print(f"{', '.join(results.models)}; answers in {items}", markup=False, soft_wrap=True)


def _show(console: Console, results: object, retention: float) -> None:
    from benchmarks.quality.groups import GROUPS
    from benchmarks.quality.outcomes import Cost
    from benchmarks.quality.tables import accuracy_rows

    (_, *heads), rows = accuracy_rows(results, Cost("layer-average", retention), GROUPS)
    table = new_table(f"Right answers, %, where layers see {retention:.0%} of the media", ["", *heads])
    for row in rows:
        table.add_row(*row)
    console.print(table)
