"""Runs with schedules of the user's own, from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seats_ops import Schedule
from seats_ops.integrations.huggingface.guards.refusals import check_schedule

from .run import Run, slug


def own_runs(paths: Sequence[Path], out: Path) -> list[Run]:
    """All tokens, then a run for every file, named by its stem.

    Args:
        paths: `.json` or `.yaml`, see `Schedule.load`.
        out: Where the results will lie.

    Raises:
        ValueError: what is wrong with a file, two whose results would have one name, one that results could replace.
    """
    runs, taken = [Run("all tokens")], {"report": "report.json"}
    for path in paths:
        name = slug(path.stem)
        if name in taken:
            raise ValueError(f"--schedule: expected files with names of their own, got {path} beside {taken[name]}")
        if path.resolve().parent == out.resolve():
            raise ValueError(f"--schedule: expected files outside of --out, where traces are written, got {path}")
        taken[name] = str(path)
        runs.append(Run(path.stem, load_schedule(path), retention=None))
    return runs


def load_schedule(path: Path) -> Schedule:
    """What `--schedule` names. Raises ValueError: what is wrong with it."""
    try:
        return Schedule.load(path)
    except OSError as error:
        raise ValueError(f"--schedule: expected a file to read, got {path} ({error.strerror})") from error
    except ValueError as error:
        raise ValueError(f"--schedule: {error}") from error


def check_runs(runs: Sequence[Run], config: Any) -> None:
    """Raise ValueError for a schedule with layers that the model of this config does not have."""
    for run in runs:
        if run.schedule is not None:
            try:
                check_schedule(run.schedule, config.text_config)
            except ValueError as error:
                raise ValueError(f"{run.name}: {error}") from error
