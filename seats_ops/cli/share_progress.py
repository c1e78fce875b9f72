"""How far a long run of several parts is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

STEP = 0.1
"""Of a part, between two lines."""


@contextlib.contextmanager
def share_progress(console: Console) -> Iterator[Callable[[str, float], None]]:
    """Is told a part's name and the share of it that is done: a bar each on a terminal, lines elsewhere."""
    if not console.is_terminal:
        said: dict[str, float] = {}

        def line(part: str, share: float) -> None:
            if share >= said.get(part, 0.0):
                said[part] = share + STEP
                console.print(f"{part}: {share:.0%}", markup=False)

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:
        tasks: dict[str, object] = {}

        def update(part: str, share: float) -> None:
            if part not in tasks:
                tasks[part] = bar.add_task(escape(part), total=1.0)
            bar.update(tasks[part], completed=share)  # type: ignore[arg-type]

        yield update
