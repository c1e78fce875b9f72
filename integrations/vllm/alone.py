"""Whether what stages keep of an item follows from it alone, by trying: media are encoded without their prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from seats_ops.integrations.vllm.items import Item
from seats_ops.integrations.vllm.selection import Chosen, choose
from seats_ops.integrations.vllm.units import Unit
from seats_ops.layout import Modality
from seats_ops.operators.inputs import joined_inputs
from seats_ops.operators.stage import Stage
from seats_ops.operators.stage_checks import name_of

Count = Callable[[tuple[Stage, ...], tuple[Item, ...]], Mapping[str, int]]
EXAMPLES = {
    "video": (Item(Modality.VIDEO, 5, 4, 6, 1.0), Item(Modality.VIDEO, 8, 2, 6, 1.0)),
    "audio": (Item(Modality.AUDIO, 130, seconds=0.04), Item(Modality.AUDIO, 77, seconds=0.04)),
    "image": (Item(Modality.IMAGE, 1, 4, 6), Item(Modality.IMAGE, 1, 6, 2)),
}
WITH_SOUND = Unit((EXAMPLES["video"][1], EXAMPLES["audio"][0]))
WIDTH = 16
TRIES = 2
LENGTHS = range(5, 40)


def shared_out(stages: tuple[Stage, ...], count: Count) -> frozenset[tuple[str, str]]:
    """Pairs of modalities of which an item changes what is kept of another one, or its values; on random inputs.

    Args:
        stages: before the LLM.
        count: tokens that they leave of the items of a prompt, by modality, from lengths.

    Raises:
        ValueError: they keep other numbers than they say, or the text around an item changes what is kept of it.
    """
    found = _counted_together(stages, count)
    for seed in range(TRIES):
        inputs = _inputs(stages, WITH_SOUND, seed)
        _check(stages, count, WITH_SOUND, inputs, choose(stages, [WITH_SOUND], *inputs, "reference"))
        for one, other in combinations_with_replacement(EXAMPLES, 2):
            units = [Unit((EXAMPLES[one][0],)), Unit((EXAMPLES[other][1],))]
            given = [_inputs(stages, unit, seed * 8 + place) for place, unit in enumerate(units)]
            alone = [choose(stages, [unit], *inputs, "reference") for unit, inputs in zip(units, given, strict=True)]
            for unit, inputs, chosen in zip(units, given, alone, strict=True):
                _check(stages, count, unit, inputs, chosen)
            rows = torch.cat([rows for rows, _ in given])
            values = {name: torch.cat([values[name] for _, values in given]) for name in given[0][1]}
            together = choose(stages, units, rows, values, "reference")
            first = units[0].num_tokens
            joined = Chosen(
                torch.cat([alone[0].index, alone[1].index + first]),
                torch.cat([chosen.rows for chosen in alone]),
                {name: n + alone[1].counts[name] for name, n in alone[0].counts.items()},
            )
            if not _same(joined, together):
                found.add((one, other))
    return frozenset(found)


def _check(
    stages: tuple[Stage, ...], count: Count, unit: Unit, inputs: tuple[Tensor, dict[str, Tensor]], chosen: Chosen
) -> None:
    """Raise ValueError for what `shared_out` does."""
    if not _same(chosen, choose(stages, [unit], *inputs, "reference", texts=9, text=1.0)):
        raise ValueError(
            f"seats_ops: expected stages that can be served, got {_names(stages)}, which keeps other media tokens "
            "where the text around them is another: media are encoded without their prompt"
        )
    said = dict(count(stages, unit.items))
    empty = [item.modality.name.lower() for item in unit.items if not said[item.modality.name.lower()]]
    if empty:
        raise ValueError(
            f"seats_ops: expected stages that can be served, got {_names(stages)}, which leaves no token of "
            f"{empty[0]}: an engine cannot encode an item for nothing; leave it out of requests"
        )
    if said != chosen.counts:
        raise ValueError(f"{_names(stages)}: expected {said} tokens of {unit.items}, got {chosen.counts}")


def _counted_together(stages: tuple[Stage, ...], count: Count) -> set[tuple[str, str]]:
    """Pairs of which two items keep another number than each alone: rounding shows at some lengths only."""
    found = set()
    for one, other in combinations_with_replacement(EXAMPLES, 2):
        for number in LENGTHS:
            pair = (_stretched(EXAMPLES[one][0], number), _stretched(EXAMPLES[other][1], 3 * number))
            each = [count(stages, (item,)) for item in pair]
            both = count(stages, pair)
            if any(both[name] != each[0][name] + each[1][name] for name in both):
                found.add((one, other))
                break
    return found


def _stretched(item: Item, number: int) -> Item:
    if item.modality == Modality.IMAGE:
        return Item(item.modality, 1, number, item.width)
    return Item(item.modality, number, item.height, item.width, item.seconds)


def _inputs(stages: Sequence[Stage], unit: Unit, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator(device="cpu").manual_seed(seed)
    n = unit.num_tokens
    names = joined_inputs(stage.inputs for stage in stages)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float32, device="cpu")

    values = {name: draw(n) for name in sorted(names) if name.startswith("saliency")}
    if "keys" in names:
        values["keys"] = draw(n, WIDTH) - 0.5
    return draw(n, WIDTH) - 0.5, values


def _same(a: Chosen, b: Chosen) -> bool:
    return torch.equal(a.index, b.index) and torch.allclose(a.rows, b.rows, atol=1e-5)


def _names(stages: Sequence[Stage]) -> str:
    return ", ".join(map(name_of, stages))
