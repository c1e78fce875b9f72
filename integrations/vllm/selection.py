"""One unit through the stages before the LLM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from seats_ops.integrations.run import ScheduleRun
from seats_ops.integrations.vllm.layouts import layout_of
from seats_ops.integrations.vllm.units import Unit
from seats_ops.operators.stage import MEDIA, Stage
from seats_ops.ops.merge_rows.api import merge_rows
from seats_ops.trace import PruneTrace


@dataclass(frozen=True)
class Chosen:
    """What is left of some units.

    Attributes:
        index: int64 [K] on the CPU, which of their tokens, in their order.
        rows: [K, D + E], with what was merged into them.
        counts: tokens left, by "video", "audio" and "image".
    """

    index: Tensor
    rows: Tensor
    counts: dict[str, int]


def choose(
    stages: Sequence[Stage],
    units: Sequence[Unit],
    rows: Tensor,
    values: Mapping[str, Tensor],
    backend: str = "auto",
    texts: int = 1,
    text: float = 0.0,
    width: int | None = None,
) -> Chosen:
    """Run stages on units as if they were a prompt.

    Args:
        stages: of a schedule, before the LLM.
        units: in the order of the prompt.
        rows: [N, D + E] of all their tokens; the E columns are merged and dropped with the others, unseen.
        values: float32 [N, ...] of the same tokens by the full name of an input: what encoders told.
        backend: of all primitives.
        texts: tokens of text around each.
        text: what their embeddings are filled with.
        width: D, if there are others.

    Raises:
        TypeError, ValueError: a stage that does not keep to the protocol.
    """
    layout = layout_of(units, texts)
    media = (layout.modality > 0).nonzero().squeeze(1)
    place = media.to(rows.device)

    def spread(x: Tensor, fill: float) -> Tensor:
        return x.new_full((len(layout), *x.shape[1:]), fill).index_copy_(0, place, x)

    features, beside = spread(rows[:, :width], text), spread(rows[:, width:] if width else rows[:, :0], 0.0)
    given = {name: spread(x, 0.0) for name, x in values.items()}
    saliency = given.pop("saliency", None)
    run = ScheduleRun(
        layout.to(rows.device), saliency, PruneTrace(), backend, given={**given, "embeddings": features.clone()}
    )
    origin = torch.arange(len(layout), dtype=torch.int64, device="cpu")
    for stage in stages:
        applied = run.apply(stage, 0, {"features": features})
        if applied is None:
            continue
        if applied.merge is not None:
            features = merge_rows(features, *applied.merge, backend=backend)
            if beside.shape[1]:
                beside = merge_rows(beside, *applied.merge, backend=backend)
        elif applied.values is not None:
            features = applied.values
        if applied.moves:
            origin = origin[applied.index]
            index = applied.index.to(features.device)
            features, beside = features[index], beside[index]
    # Where media stand among the layout's tokens, back to where they stand among the units'.
    number = pad((layout.modality > 0).long().cumsum(0), (1, 0))[:-1]
    stays = layout.modality[origin] > 0
    kinds = run.layout.plan().counts()[0].tolist()
    counts = dict(zip(MEDIA, kinds[1:], strict=True))
    kept = torch.cat([features, beside], 1)[stays.to(features.device)]
    return Chosen(number[origin[stays]], kept, counts)
