"""A model whose layers lie on two devices; run by `test_scale_devices.py` in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from seats_ops import Modality, Schedule, TokenLayout
from seats_ops.integrations import attach
from seats_ops.operators.inputs import QUERIES, WEIGHTS
from tests.custom_stages import every_other
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.asking import Asks
from tests.integrations.huggingface.batching import answers, batch_of, rows_of
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.scale_devices import DEVICES, two_devices
from tests.integrations.huggingface.scale_split import split, to_device
from tests.integrations.huggingface.schedules import SCHEDULES


@pytest.fixture(autouse=True)
def devices() -> Iterator[None]:
    with two_devices():
        yield


def test_devices_do_not_mix() -> None:
    """What the other tests here rest on."""
    first, second = (torch.arange(3, device=device) for device in DEVICES)
    for mix in (lambda: first + second, lambda: first + torch.ones(3), lambda: torch.cat([first, second])):
        with pytest.raises(RuntimeError, match="same device"):
            mix()
    assert (first + second.to(first.device)).tolist() == [0, 2, 4]
    assert (first + torch.tensor(1)).tolist() == [1, 2, 3]
    assert first[torch.tensor([2, 0])].tolist() == [2, 0]
    with pytest.raises(RuntimeError, match="same device"):
        first.index_select(0, torch.tensor([2, 0]))


@pytest.mark.parametrize("attention", ["eager"])
def test_one_prompt(thinker: Any, clip: dict[str, Any], kv_policy: str) -> None:
    boundary = {"uniform": 3, "per-layer": 1}[kv_policy]  # among layers that drop, and before them
    schedule = SCHEDULES["preset"](thinker.config)
    with attach(thinker, schedule, kv_policy=kv_policy) as trace:
        expected = probes.generate(thinker, clip, 3)
        kept = probes.kept_sets(trace)
    parts = split(SMALL["qwen2_5_omni"]("eager"), boundary, *DEVICES)
    with attach(parts, schedule, kv_policy=kv_policy) as trace:
        answer = probes.generate(parts, to_device(clip, DEVICES[0]), 3)
    assert [(at, columns.tolist()) for at, columns in probes.kept_sets(trace)] == [(at, x.tolist()) for at, x in kept]
    assert answer.ids == expected.ids
    assert torch.equal(answer.logits.cpu(), expected.logits)
    assert [layer.keys.device for layer in answer.cache.layers] == [DEVICES[i >= boundary] for i in range(7)]


@pytest.mark.parametrize("family", ["qwen2_5_omni", "qwen3_omni"])
def test_a_batch(family: str, kv_policy: str) -> None:
    """Rows of different lengths: padding, masks of their own for layers that were pruned differently, DeepStack."""
    whole, parts = (SMALL[family]("eager") for _ in range(2))
    for model in (whole, parts):
        model.set_experts_implementation("eager")  # otherwise transformers takes another road on a CPU
    batch = batch_of(rows_of(whole.config, "interleaved"))
    schedule = SCHEDULES["several_stages_at_one_place"](whole.config)
    with attach(whole, schedule, kv_policy=kv_policy):
        ids, logits = answers(whole, batch, 3)
    parts = split(parts, 2, *DEVICES)
    with attach(parts, schedule, kv_policy=kv_policy):
        split_ids, split_logits = answers(parts, to_device(batch, DEVICES[0]), 3)
    assert torch.equal(split_ids.cpu(), ids)
    assert torch.equal(split_logits.cpu(), logits)


@pytest.mark.parametrize(("family", "boundary"), [("qwen2_5_omni", 3), ("qwen3_omni", 2)])
def test_inputs_of_stages(family: str, boundary: int) -> None:
    """Right where the next layer lies elsewhere, and one layer earlier."""
    whole, parts = (SMALL[family]("eager") for _ in range(2))
    for model in (whole, parts):
        model.set_experts_implementation("eager")
    parts = split(parts, boundary, *DEVICES)
    batch = batch_of(rows_of(whole.config, "interleaved"))
    names = ["features", "previous", "embeddings", "saliency", "saliency:mean", "saliency:pooled", "keys"]
    names += ["external:clip", *(f"scores:{query}/{weights}" for query in QUERIES for weights in WEIGHTS)]
    total = int(batch["attention_mask"].sum())
    found = []
    for model, inputs in ((whole, batch), (parts, to_device(batch, DEVICES[0]))):
        stages = [Asks((name,)) for name in names]
        facts = Asks(("grid", "seconds", "question"))
        schedule = Schedule(Asks((), every_other), {2: [Asks((), every_third), *stages, facts]})
        with torch.no_grad(), attach(model, schedule, external={"clip": torch.arange(total)}):
            model(**inputs)
        seen = [x for stage in stages for key, x in stage.seen[0].items() if key != "layout"]
        layout = facts.seen[0]["layout"]
        found.append([*seen, layout.grid, layout.seconds, layout.question])
    for name, one, other in zip([*names, "grid", "seconds", "question"], *found, strict=True):
        assert other.device in DEVICES, name
        torch.testing.assert_close(other.cpu(), one, rtol=0, atol=0, equal_nan=True)


def every_third(layout: TokenLayout) -> torch.Tensor:
    return layout.is_modality(Modality.TEXT) | (layout.position % 3 == 0)
