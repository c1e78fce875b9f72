"""Where a comparison is written down: its journal, its pages, its outcome."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from seats_ops.compare.journal import Journal
from seats_ops.compare.outcome import Comparison
from seats_ops.compare.page import page
from seats_ops.compare.records import PromptRecord
from seats_ops.files import write_whole
from seats_ops.inspector import Media
from seats_ops.trace import PruneTrace


class Folder:
    """`prompts.jsonl` is added to as prompts are measured; `overall.json` and `index.html` are written at the end.

    Args:
        path: made if need be.
        settings: see `Journal`.

    Raises:
        ValueError: no folder can be there, or it is that of another comparison. OSError: it cannot be written to.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"out: expected a folder to write to, got {path} ({error.strerror})") from error
        self.path = path
        self.page = path / "index.html"
        self.settings = settings
        self.journal = Journal(path / "prompts.jsonl", settings)

    def add_pages(
        self, record: PromptRecord, traces: Mapping[str, PruneTrace], media: Media | None, config: Any
    ) -> None:
        """A page and a trace for every schedule, of one prompt. Raises OSError."""
        for name, trace in traces.items():
            page = self.page_of(record.name, name)
            page.parent.mkdir(parents=True, exist_ok=True)
            trace.to_html(page, media, names=(name, ""), config=config, exist_ok=True)
            trace.save(page.with_suffix(".json"))

    def has_pages(self, prompt: str, schedules: Iterable[str]) -> bool:
        """Whether those of a prompt are there: it may have been measured without, or the disk was full."""
        return all(self.page_of(prompt, name).exists() for name in schedules)

    def page_of(self, prompt: str, schedule: str) -> Path:
        """Where the page of a prompt under a schedule is, if there is one."""
        return self.path / "prompts" / file_name(prompt) / f"{file_name(schedule)}.html"

    def finish(self, result: Comparison) -> None:
        """Write what was found over all prompts, as JSON and as a page. Raises OSError."""
        write_whole(self.path / "overall.json", json.dumps({**self.settings, **result.to_dict()}, indent=1) + "\n")
        write_whole(self.page, page(result, self.settings, self._link))

    def _link(self, prompt: str, schedule: str) -> str | None:
        found = self.page_of(prompt, schedule)
        return found.relative_to(self.path).as_posix() if found.exists() else None


def file_name(name: str) -> str:
    """The name itself where it can be one of a file, else something like it that no other name has."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:60]
    return plain if plain and plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}".lstrip("-")
