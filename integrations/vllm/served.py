"""Which schedules an engine can serve, and how many tokens of a request they leave."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from seats_ops.cost.counts import token_counts
from seats_ops.cost.prompt_lengths import PromptLengths
from seats_ops.integrations.vllm.alone import shared_out
from seats_ops.integrations.vllm.items import Item
from seats_ops.integrations.vllm.units import Unit
from seats_ops.layout import Modality
from seats_ops.methods import methods
from seats_ops.operators.inputs import joined_inputs, parse_input
from seats_ops.operators.stage import MEDIA_MODALITIES, Stage, count_kind_of
from seats_ops.operators.stage_checks import name_of
from seats_ops.schedule import Schedule
from seats_ops.validation import describe

ENTRY = "seats_ops"
"""The entry of a model's config that holds the schedule."""
HAD = ("features", "embeddings", "saliency", "saliency:mean", "saliency:pooled", "keys", "grid", "seconds")
ADDED = ("counts", "generators", "kept")


@dataclass(frozen=True)
class Served:
    """A schedule that passed, see `read_schedule`.

    Attributes:
        stages: all before the LLM.
        name: tells it apart from others, in the names that caches go by.
        shared_out: pairs of modalities of which one item's tokens depend on another item in the prompt.
    """

    stages: tuple[Stage, ...]
    name: str
    shared_out: frozenset[tuple[str, str]]

    @property
    def asked(self) -> frozenset[str]:
        """Full names of what is to be captured in the encoders."""
        names = joined_inputs(stage.inputs for stage in self.stages)
        return frozenset(name for name in names if name.startswith("saliency") or name == "keys")

    def kept(self, unit: Unit) -> dict[str, int]:
        """Tokens that stay of a unit, by "video", "audio" and "image"; from lengths alone."""
        return _kept(self.stages, unit.items)

    def per_run(self, unit: Unit) -> list[tuple[Modality, int]]:
        """What stands in the prompt for what stays of every run of a unit, as many as stay of each modality.

        Which token stays is known after the encoder. Where a video and its sound take turns, or text stands between
        frames, every run gets what the stages would leave of the item if it ended there. That is what they leave of
        the run, unless a group of tokens that share a number reaches over its end.
        """
        total = self.kept(unit)
        left = [total[item.modality.name.lower()] for item in unit.items]
        given, found = [0] * len(left), []
        for index, part in unit.runs():
            item = unit.items[index]
            until = left[index]
            if part.stop < item.num_tokens:
                until = min(max(self._until(item, part.stop, until), given[index]), until)
            found.append((item.modality, until - given[index]))
            given[index] = until
        return found

    def _until(self, item: Item, end: int, total: int) -> int:
        """Tokens that stay of the first `end` of an item."""
        try:
            return _kept(self.stages, (item.cut(end),))[item.modality.name.lower()]
        except ValueError:
            # Too short for a stage that takes all of it.
            return total * end // item.num_tokens

    def check_request(self, kinds: Sequence[set[str]]) -> None:
        """Raise ValueError for items that share out tokens with each other: each is encoded, and cached, alone.

        Args:
            kinds: modalities of every unit of the request; those of a video and its sound are chosen from together.
        """
        for one, other in sorted(self.shared_out):
            have = [index for index, names in enumerate(kinds) if one in names]
            others = [index for index, names in enumerate(kinds) if other in names]
            if any(a != b for a in have for b in others):
                names = ", ".join(map(name_of, self.stages))
                counts = Counter(name for each in kinds for name in sorted(each))
                raise ValueError(
                    f"seats_ops: expected a request whose {one} and {other} items can be chosen from alone, as the "
                    f"engine encodes and caches each alone; {names} decides on them together, got {dict(counts)}"
                )


def read_schedule(data: object) -> Served:
    """A schedule that an engine can serve, from its JSON form.

    Args:
        data: what `Schedule.to_dict` gave, or the entry of a stage in it.

    Raises:
        TypeError, ValueError: no such form, or one that cannot be served; the message says why.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"{ENTRY}: expected a stage or a schedule as a mapping, got {describe(data)}")
    return _read(json.dumps(data, sort_keys=True))


@lru_cache(maxsize=8)
def _read(text: str) -> Served:
    """Once for all that ask in a process: trying a schedule takes seconds."""
    plain = json.loads(text)
    methods()  # makes their stages known, and those of other packages, in a process that has imported nothing yet
    return served(Schedule.from_dict({"before_llm": [plain]} if "type" in plain else plain))


def served(schedule: Schedule) -> Served:
    """The same of a `Schedule`."""
    if schedule.after_layer:
        layers = ", ".join(map(str, schedule.after_layer))
        raise _refused(
            f"stages after layers ({layers}): an engine runs a prompt in chunks and shares the keys of all layers"
        )
    if not schedule.before_llm:
        raise _refused("no stage")
    for stage in schedule.before_llm:
        _check_stage(stage)
    name = json.dumps(schedule.to_dict()["before_llm"], sort_keys=True)
    return Served(schedule.before_llm, name, shared_out(schedule.before_llm, _kept))


def _check_stage(stage: Stage) -> None:
    kind = count_kind_of(stage)
    if kind not in ("shape", "reconciled"):
        raise _refused(
            f"{name_of(stage)}, whose counts depend on {'pixels and question' if kind == 'text' else 'data'}: the "
            "length of a prompt is fixed before anything is encoded"
        )
    for item in map(parse_input, stage.inputs):
        if item.name not in HAD and item.kind not in ADDED:
            raise _refused(f"{name_of(stage)}, which asks for {item.name!r}: media are encoded without their prompt")


def _refused(what: str) -> ValueError:
    return ValueError(f"{ENTRY}: expected stages that can be served, got {what}")


def _kept(stages: tuple[Stage, ...], items: tuple[Item, ...]) -> dict[str, int]:
    blocks = {m: tuple(n for item in items if item.modality == m for n in item.blocks()) for m in MEDIA_MODALITIES}
    shapes = tuple(item.shape for item in items if item.num_tokens)
    lengths = PromptLengths(2, blocks[Modality.VIDEO], blocks[Modality.AUDIO], blocks[Modality.IMAGE], shapes=shapes)
    last = token_counts(Schedule(stages), lengths)[-1]
    if last.low != last.high:
        raise _refused(f"{last.name}, whose counts are predictions from {last.low} to {last.high} tokens")
    return {m.name.lower(): getattr(last, m.name.lower()) for m in MEDIA_MODALITIES}
