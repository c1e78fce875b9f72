"""The layout of media without the rest of their prompt, as stages see it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seats_ops.integrations.vllm.items import Item
from seats_ops.integrations.vllm.units import Unit
from seats_ops.layout import MediaShape, Modality, TokenLayout
from seats_ops.layout.windows import run_windows
from seats_ops.operators.stage import MEDIA_MODALITIES


def layout_of(units: Sequence[Unit], texts: int = 1) -> TokenLayout:
    """One prompt: units with `texts` tokens of text before, between, in and after them, the query among these.

    Text stands for what the request asks; stages that look at it cannot be served.
    """
    text = torch.zeros(texts, 6, dtype=torch.float64, device="cpu")
    pieces = [text]
    shapes: list[MediaShape] = []
    for unit in units:
        # modality, item, t, h, w, seconds
        rows = torch.zeros(unit.num_tokens, 6, dtype=torch.float64, device="cpu")
        first = len(shapes)
        for index, (item, column) in enumerate(zip(unit.items, unit.columns(), strict=True)):
            rows[column] = _facts(item, first + index)
        shapes += [item.shape for item in unit.items]
        for part in rows.split(unit.spans):
            pieces += [part, text]
    table = torch.cat(pieces)
    modality = table[:, 0].long()
    media = modality > 0
    grid = torch.where(media[:, None], table[:, 1:5].long(), -1)
    seconds = torch.where(media & (modality != Modality.IMAGE), table[:, 5], torch.nan).float()
    total = len(modality)
    layout = TokenLayout(
        modality,
        torch.arange(total, dtype=torch.int64, device="cpu"),
        torch.tensor([0, total], dtype=torch.int32, device="cpu"),
    )
    block, blocks = _blocks(modality, [item for unit in units for item in unit.items])
    window = run_windows(layout)
    return TokenLayout(
        modality,
        layout.position,
        layout.cu_seqlens,
        block,
        window,
        tuple(blocks),
        int(window.max()) + 1,
        grid=grid,
        shapes=tuple(shapes),
        seconds=seconds,
    )


def _facts(item: Item, number: int) -> Tensor:
    place = torch.arange(item.num_tokens, dtype=torch.int64, device="cpu")
    at_once = max(item.height * item.width, 1)
    frame, row, column = place // at_once, place // max(item.width, 1) % max(item.height, 1), place % max(item.width, 1)
    kind, which = torch.full_like(place, int(item.modality)), torch.full_like(place, number)
    return torch.stack([kind, which, frame, row, column, frame * item.seconds], 1).double()


def _blocks(modality: Tensor, items: Sequence[Item]) -> tuple[Tensor, list[tuple[int, int]]]:
    block = torch.full_like(modality, -1)
    blocks: list[tuple[int, int]] = []
    for kind in MEDIA_MODALITIES:
        lengths = [n for item in items if item.modality == kind for n in item.blocks()]
        numbers = torch.arange(len(lengths), dtype=torch.int64, device="cpu") + len(blocks)
        counts = torch.tensor(lengths, dtype=torch.int64, device="cpu")
        block[modality == kind] = numbers.repeat_interleave(counts)
        blocks += [(int(kind), n) for n in lengths]
    return block, blocks
