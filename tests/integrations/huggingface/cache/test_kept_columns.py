"""`logits_to_keep` names columns of the caller's prompt, however it names them, and however few tokens are left."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seats_ops import DiversitySelector, PruneTrace, Schedule, StagePruner, UnsupportedModelState
from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.compat import LACKS
from seats_ops.testing.stand_in_device import Device
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.batching import batch_of
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.prompts import Text, Video, build_prompt, stills
from tests.integrations.huggingface.schedules import small_preset
from tests.integrations.huggingface.upstream import CACHE, needs, text_model

FAMILIES = ["qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "phi4_multimodal"]
PARTS = [[Text(9), Video((5, 4, 6), 1.0), Text(7)], [Text(4), Video((3, 4, 6), 1.0), Text(6)]]
KEEP_ALL = Schedule(before_llm=DiversitySelector(1.0), after_layer={2: StagePruner(1.0)})


def batch(config: Any, side: str = "left", rows: int = 2) -> dict[str, Any]:
    prompts = [build_prompt(config, *stills(config, *parts), seed=i) for i, parts in enumerate(PARTS[:rows])]
    return batch_of(prompts, side)


def pruning(config: Any) -> Schedule:
    return small_preset(config, drop_layers=(2, 3, 4), late_layer=None, encoder_ratio_scale=1.7)


def columns_left(trace: PruneTrace) -> list[list[int]]:
    return [kept.tolist() for kept in trace.stages[-1].kept_indices]


def answers(full: Tensor, trace: PruneTrace) -> list[dict[int, Tensor]]:
    """Per row, logits by column: rows of the full answer end in the last token."""
    return [
        dict(zip(kept, row[len(row) - len(kept) :], strict=True))
        for row, kept in zip(full, columns_left(trace), strict=True)
    ]


def forms(wanted: list[list[int]], width: int) -> dict[str, Any]:
    """Ways to ask for these columns of every row, at least one, in ascending order, of which the last is the last."""
    per_row = torch.tensor(wanted)
    mask = torch.zeros(len(wanted), width, dtype=torch.bool).scatter_(1, per_row, True)
    by_row = {"columns per row": per_row, "from the end": per_row - width, "a mask of all rows": mask}
    same = {} if "columns per row" in LACKS else by_row
    if any(row != wanted[0] for row in wanted):
        return same
    return same | {
        "columns": per_row[0],
        "columns from the end": per_row[0] - width,
        "narrow columns": per_row[0].to(torch.int32),
        "a list": wanted[0],
        "a mask": mask[0],
        **({"a slice": slice(wanted[0][0], None)} if wanted[0] == list(range(wanted[0][0], width)) else {}),
        **({"a count": len(wanted[0])} if wanted[0] == list(range(wanted[0][0], width)) else {}),
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rows", [1, 2])
@torch.no_grad()
def test_columns_that_are_left(family: str, rows: int) -> None:
    model = SMALL[family]("sdpa")
    inputs = batch(model.config, rows=rows)
    width = inputs["input_ids"].shape[1]
    with attach(model, pruning(model.config)) as trace:
        by_column = answers(model(**inputs).logits, trace)
        left = columns_left(trace)
        assert all(len(kept) < width for kept in left)
        some = min(map(len, left)) // 2
        for wanted in ([[width - 1]], [[width - 3, width - 2, width - 1]], [[width - 4, width - 1]], None):
            # The last: columns of media among others, at places of their own in each row.
            asked = [kept[-some::2] for kept in left] if wanted is None else wanted * rows
            expected = torch.stack([torch.stack([by_column[r][c] for c in row]) for r, row in enumerate(asked)])
            for form, value in forms(asked, width).items():
                got = model(**inputs, logits_to_keep=value).logits
                expected_here = expected.flatten(0, 1) if form == "a mask of all rows" else expected
                assert got.shape == expected_here.shape, form
                assert (got - expected_here).abs().max() < 1e-4, form
        backwards = model(**inputs, logits_to_keep=torch.tensor([width - 1, width - 3])).logits
        assert (backwards[:, 0] - model(**inputs).logits[:, -1]).abs().max() < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
@needs("columns per row")
def test_columns_per_row(family: str) -> None:
    model = SMALL[family]("sdpa")
    inputs = batch(model.config)
    columns = torch.tensor([[-1], [-2]])
    with attach(model, KEEP_ALL):
        got = model(**inputs, logits_to_keep=columns).logits
    assert torch.equal(got, model(**inputs, logits_to_keep=columns).logits)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_columns_that_are_not(family: str) -> None:
    model = SMALL[family]("sdpa")
    one, two = batch(model.config, rows=1), batch(model.config)
    width = one["input_ids"].shape[1]
    ran: list[int] = []
    with attach(model, pruning(model.config)) as trace:
        model(**one)
        early, late = (trace.stages[i].kept_indices[0].tolist() for i in (0, -1))
        gone_early = next(c for c in range(width) if c not in early)
        gone_late = next(c for c in early if c not in late)
        longest_tail = next(n for n in range(1, width) if width - 1 - n not in late)
        layers = text_model(model).layers
        layers[0].register_forward_hook(lambda *_: ran.append(1))
        with probes.produced_logits(model) as produced:
            for column, runs in ((gone_early, False), (gone_early - width, False), (gone_late, True)):
                for value in (torch.tensor([width - 1, column]), [column]):
                    ran.clear()
                    with pytest.raises(UnsupportedModelState, match=f"^logits_to_keep: .* {column % width} of row 0"):
                        model(**one, logits_to_keep=value)
                    assert bool(ran) == runs
            for value in (longest_tail + 1, width, width + 5, slice(None), slice(0, None, 2), -1):
                with pytest.raises(UnsupportedModelState, match=r"^logits_to_keep"):
                    model(**one, logits_to_keep=value)
            for value in (torch.tensor([width]), [-width - 1], torch.ones(width + 1, dtype=torch.bool), "last"):
                with pytest.raises(ValueError, match=r"^logits_to_keep: expected columns of input_ids \[1, "):
                    model(**one, logits_to_keep=value)
            for inputs, value in ((two, [0]), (batch(model.config, "right"), 1)):
                with pytest.raises(UnsupportedModelState, match=r"^logits_to_keep: .* padding, e.g. \d+ of row 1"):
                    model(**inputs, logits_to_keep=value)
        assert produced == []


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_keeping_everything_changes_no_bit(family: str) -> None:
    model = SMALL[family]("sdpa")
    inputs = batch(model.config)
    width = inputs["input_ids"].shape[1]
    columns = [5, 11, width - 1]
    for value in (1, 4, width, slice(2, -3, 2), *forms([columns, columns], width).values()):
        expected = model(**inputs, logits_to_keep=value).logits
        with attach(model, KEEP_ALL):
            assert torch.equal(model(**inputs, logits_to_keep=value).logits, expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_and_a_call_by_position(family: str) -> None:
    model = SMALL[family]("sdpa").train()
    inputs = batch(model.config)
    weight = model.get_parameter("lm_head.weight")
    with attach(model, pruning(model.config)):
        (expected,) = torch.autograd.grad(model(**inputs).logits[:, -2:].square().sum(), weight)
        names = list(inspect.signature(model.forward).parameters)
        names = names[: names.index("logits_to_keep")]
        rest = {name: value for name, value in inputs.items() if name not in names}
        last = torch.tensor([-2, -1])
        got = model(*(inputs.get(name) for name in names), last, **rest).logits
        assert got.shape[1] == 2
        (gradient,) = torch.autograd.grad(got.square().sum(), weight)
    assert (gradient - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
def test_generate_and_later_tokens(family: str) -> None:
    """New tokens count from the first of them: nothing of theirs is dropped."""
    model = SMALL[family]("sdpa")
    prompt = batch(model.config, rows=1)
    with attach(model, pruning(model.config)):
        expected = probes.generate(model, prompt, 4)
        for value in (1, 2, torch.tensor([-1])):
            got = probes.generate(model, prompt, 4, logits_to_keep=value)
            assert got.ids == expected.ids
            assert (got.logits - expected.logits).abs().max() < 1e-4
        with torch.no_grad():
            new = torch.tensor([[5, 6, 7]])
            all_new = model(input_ids=new, **{CACHE: probes.generate(model, prompt, 2).cache}).logits
            cache = probes.generate(model, prompt, 2).cache
            one = model(input_ids=new, **{CACHE: cache}, logits_to_keep=torch.tensor([1])).logits
    assert (one - all_new[:, 1:2]).abs().max() < 1e-4


def test_models_that_do_not_take_it(thinker: nn.Module, clip: dict[str, Any]) -> None:
    """transformers passes it on to the attention of every layer, where it means nothing, and answers for all."""
    with torch.no_grad(), attach(thinker, pruning(thinker.config)):
        expected = thinker(**clip).logits
        assert torch.equal(thinker(**clip, logits_to_keep=0).logits, expected)
        for value in (1, torch.tensor([3])):
            with pytest.raises(UnsupportedModelState, match=r"^logits_to_keep: expected None"):
                thinker(**clip, logits_to_keep=value)


@torch.no_grad()
def test_columns_on_a_device_cost_no_read_of_their_own() -> None:
    model = SMALL["qwen3_vl"]("sdpa")
    inputs = batch(model.config, rows=1)
    width = inputs["input_ids"].shape[1]
    names = ("input_ids", "mm_token_type_ids", "video_grid_thw", "attention_mask")
    inputs["position_ids"], _ = model.model.get_rope_index(**{name: inputs[name] for name in names})
    mask = torch.zeros(width, dtype=torch.bool).index_fill(0, torch.tensor([width - 4, width - 1]), True)
    with attach(model, pruning(model.config)) as trace:
        expected = model(**inputs, logits_to_keep=mask).logits
    reads = []
    for extra in ({}, {"logits_to_keep": mask}):
        placed = SMALL["qwen3_vl"]("sdpa")
        device = Device()
        given = device.put({**inputs, **extra})
        device.put(placed)
        with device, attach(placed, pruning(placed.config)):
            got = placed(**given).logits
        reads.append(len(device.reads))
    assert reads[0] == reads[1] <= 1 + len(trace.stages)
    assert got.shape == expected.shape
    assert (got.held - expected).abs().max() < 1e-4
