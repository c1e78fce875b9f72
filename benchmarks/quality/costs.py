"""What contenders cost on paper, beside their results: shares of the whole prompt's, for the clips of all tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.quality.contenders import RANDOM, RANDOM_DRAWS, Layers
from benchmarks.quality.entries import Entry
from benchmarks.quality.outcomes import FULL, Cost
from benchmarks.quality.plan import FULL as EVERYTHING
from benchmarks.quality.plan import entries_for
from benchmarks.quality.scenes import Scene
from benchmarks.results import refuse_another

SHARES = ("layer_average", "flops", "kv")
FILE = "costs.json"
EVALUATE = "python -m benchmarks quality evaluate"


def costs_of(config: Any, layers: Layers) -> dict[str, dict[str, float]]:
    """By key of all that reach their cost; of two choices the mean over chunks."""
    entries = entries_for(EVERYTHING, Scene(), False, config, layers)
    return {one.key: {share: round(_mean(one, share), 4) for share in SHARES} for one in entries if one.choices}


def _mean(one: Entry, share: str) -> float:
    low, high = (getattr(choice, share) for choice in (one.choices[0], one.choices[-1]))
    return float(low + one.share * (high - low))


def write(folder: Path, revision: Mapping[str, Any], by_model: Mapping[str, dict[str, dict[str, float]]]) -> None:
    said = {"revision": revision, "costs": by_model}
    (folder / FILE).write_text(json.dumps(said, separators=(",", ":")) + "\n", encoding="utf-8")


class Costs:
    """Read from the file beside results."""

    def __init__(self, folder: Path, revision: Mapping[str, Any]) -> None:
        """Raises ValueError: none, or of another revision."""
        file = folder / FILE
        if not file.exists():
            raise ValueError(f"{file}: expected costs beside the results; {EVALUATE}")
        said = json.loads(file.read_text(encoding="utf-8"))
        refuse_another(f"{file}: costs", said["revision"], revision, whose="of the results", mend=EVALUATE)
        self._by_model = said["costs"]

    def share(self, name: str, cost: Cost, what: str) -> float | None:
        """Mean over models; None where none of them reaches the cost."""
        if name == FULL:
            return 1.0
        key = cost.key(RANDOM_DRAWS[0] if name == RANDOM else name)
        found = [costs[key][what] for costs in self._by_model.values() if key in costs]
        return sum(found) / len(found) if found else None
