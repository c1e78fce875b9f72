"""Groups of a layout's tokens, and the token at the same place of another frame."""

from __future__ import annotations

from collections import defaultdict

import pytest
import torch

from seats_ops.layout import MediaShape, Modality, TokenLayout, group_tokens, partners

TEXT, VIDEO, AUDIO, IMAGE = Modality.TEXT, Modality.VIDEO, Modality.AUDIO, Modality.IMAGE
SHAPES = (
    MediaShape(VIDEO, 3, 2, 2),
    MediaShape(AUDIO, 5),
    MediaShape(IMAGE, 1, 2, 3),
    MediaShape(VIDEO, 2, 1, 3),
    MediaShape(VIDEO, 1, 1, 1),
)
ROWS = [[None, 0, 1, None, 2, None], [None], [3, None, 4, None]]


def example() -> TokenLayout:
    """Three prompts; a number stands for an item, None for a token of text."""
    modality, position, grid, block, starts = [], [], [], [], [0]
    for row in ROWS:
        column = 0
        for part in row:
            shape = MediaShape(TEXT, 1) if part is None else SHAPES[part]
            for t in range(shape.t):
                for h in range(shape.h):
                    for w in range(shape.w):
                        modality.append(int(shape.modality))
                        position.append(column)
                        grid.append([-1] * 4 if part is None else [part, t, h, w])
                        block.append(-1 if part is None else part)
                        column += 1
        starts.append(len(modality))
    return TokenLayout(
        torch.tensor(modality),
        torch.tensor(position),
        torch.tensor(starts),
        block=torch.tensor(block),
        grid=torch.tensor(grid),
        shapes=SHAPES,
    )


def key_of(layout: TokenLayout, by: str, token: int) -> tuple[int, ...]:
    row, kind = int(layout.rows()[token]), int(layout.modality[token])
    item, t = layout.grid[token, :2].tolist()
    return {
        "row": (row,),
        "modality": (row, kind),
        "item": (row, item),
        "frame": (row, item, t),
        "block": (row, item, kind),
        "window": (row, kind),
    }[by]


@pytest.mark.parametrize("thinned", [False, True])
@pytest.mark.parametrize("kinds", [(VIDEO, AUDIO, IMAGE), (VIDEO,), (AUDIO, IMAGE), ()])
@pytest.mark.parametrize("by", ["row", "modality", "item", "frame", "block", "window"])
def test_groups(by: str, kinds: tuple[Modality, ...], thinned: bool) -> None:
    layout = example()
    if thinned:
        layout = layout.select(torch.arange(len(layout)) % 3 != 1)
    members = defaultdict(list)
    for token in range(len(layout)):
        if layout.modality[token] in kinds:
            members[key_of(layout, by, token)].append(token)
    groups = group_tokens(layout, by, kinds)
    expected = [members[key] for key in sorted(members)]
    assert len(groups) == len(expected)
    for number, tokens in enumerate(expected):
        assert (groups.ids == number).nonzero().flatten().tolist() == tokens
        assert groups.lengths[number] == len(tokens)
        assert groups.row[number] == layout.rows()[tokens[0]]
        assert groups.modality[number] == min(layout.modality[tokens])
    index, cu_seqlens = groups.packed()
    assert index.tolist() == [token for tokens in expected for token in tokens]
    assert cu_seqlens.diff().tolist() == groups.lengths.tolist()
    assert bool((groups.ids[~layout.is_modality(*kinds)] == -1).all())


@pytest.mark.parametrize("step", [-1, 1, -2])
@pytest.mark.parametrize("thinned", [False, True])
def test_partners(step: int, thinned: bool) -> None:
    layout = example()
    if thinned:
        layout = layout.select(torch.arange(len(layout)) % 4 != 2)
    where = {tuple(place): token for token, place in enumerate(layout.grid.tolist()) if place[0] >= 0}
    for token, (place, partner) in enumerate(zip(layout.grid.tolist(), partners(layout, step).tolist(), strict=True)):
        item, t, h, w = place
        assert partner == (where.get((item, t + step, h, w), -1) if item >= 0 else -1), token


def test_on_another_device_the_host_copy_is_used() -> None:
    layout = example()
    away = layout.to(torch.device("meta"))
    assert torch.equal(group_tokens(away, "frame").ids, group_tokens(layout, "frame").ids)
    assert torch.equal(partners(away), partners(layout))
    assert away.grid is not None and away.grid.shape == layout.grid.shape


def test_empty_layouts_have_no_groups() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    layout = TokenLayout(nothing, nothing, torch.tensor([0]), grid=nothing.view(0, 4), shapes=())
    for by in ("row", "modality", "item", "frame", "block", "window"):
        assert len(group_tokens(layout, by)) == 0
    assert len(partners(layout)) == 0


def test_what_is_missing_is_named() -> None:
    plain = TokenLayout(torch.tensor([1, 0]), torch.arange(2), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="layout: expected one with grid for groups by frame"):
        group_tokens(plain, "frame")
    with pytest.raises(ValueError, match="by: expected one of"):
        group_tokens(plain, "second")
    with pytest.raises(ValueError, match="layout: expected one with grid and shapes"):
        partners(plain)
    with pytest.raises(ValueError, match="step: expected an int other than 0, got 0"):
        partners(example(), 0)


def test_ordered_tokens_keep_all_their_facts() -> None:
    layout = example()
    order = torch.arange(len(layout))
    order[1:4] = torch.tensor([3, 1, 2])
    moved = layout.ordered(order)
    for name in ("modality", "position", "block", "grid"):
        assert torch.equal(getattr(moved, name), getattr(layout, name)[order])
    assert torch.equal(moved.cu_seqlens, layout.cu_seqlens)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shapes": None}, "shapes: expected to be given with grid, got grid alone"),
        ({"grid": None}, "shapes: expected to be given with grid, got shapes alone"),
        ({"shapes": SHAPES[:4]}, "grid: expected items below 4"),
        ({"shapes": (SHAPES[0]._replace(h=1), *SHAPES[1:])}, "inside the shape of their item"),
        ({"shapes": (SHAPES[0]._replace(modality=AUDIO), *SHAPES[1:])}, "of the modality that shapes says"),
        ({"seconds": torch.zeros(3)}, r"seconds: expected \["),
        ({"question": torch.zeros(36, dtype=torch.int64)}, "question: expected a bool tensor"),
    ],
)
def test_facts_that_do_not_fit_are_refused(changes: dict, message: str) -> None:
    layout = example()
    facts = {"grid": layout.grid, "shapes": layout.shapes} | changes
    with pytest.raises((ValueError, TypeError), match=message):
        TokenLayout(layout.modality, layout.position, layout.cu_seqlens, **facts)
