"""What results depend on, in a few words that can be compared."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from benchmarks.quality.checkpoints import Trained
from benchmarks.quality.examine import questions_of
from benchmarks.quality.tasks import TASKS, curves

RULES = 1
"""Counts up with every change to what is measured that the digest of questions does not show."""


def revision_of(models: Iterable[Trained], layers: dict[str, Any]) -> dict[str, Any]:
    """Of results on these models, which stages act after these layers of."""
    return {
        "rules": RULES,
        "questions": _digest_of_questions(),
        "models": {one.name: one.digest for one in models},
        "layers": layers,
    }


def _digest_of_questions() -> str:
    """Of what is shown and asked: facts alone, as pixels are rounded differently on other processors."""
    digest = hashlib.sha256()
    for task in (*TASKS, *curves()):
        clips, asked = questions_of(task, 0, 2)
        digest.update(f"{task.name} {task.kind} {task.scene}".encode())
        for part in (asked.argument, asked.answer, asked.needles, clips.facts.marked.long()):
            digest.update(part.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
