"""How far a run over many prompts is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextlib.contextmanager
def prompt_progress(console: Console, prompts: int) -> Iterator[Callable[[float, str], None]]:
    """A bar on a terminal, a line per clip elsewhere; on stderr, so that what is printed can be read by a program."""
    if not console.is_terminal:
        begun: set[int] = set()

        def line(done: float, text: str) -> None:
            if int(done) not in begun:
                begun.add(int(done))
                console.print(f"{int(done) + 1} of {prompts}: {text}", markup=False)

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=prompts)
        yield lambda done, text: bar.update(task, completed=done, description=escape(text))
