"""Models on the device that tensors are made on by default; run by `test_default_device.py` in a process of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from seats_ops import Schedule
from seats_ops.integrations import attach
from tests.ambient.test_families import prompt_for, schedule_for
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.scale_devices import DEVICES, two_devices
from tests.integrations.huggingface.scale_split import split, to_device
from tests.integrations.huggingface.upstream import CACHE, cache_of

# Phi-4's encoder of sound, in transformers, compares lengths on the host with tensors on the device.
FAMILIES = [family for family in SMALL if family != "phi4_multimodal"]


def answer(model: Any, inputs: dict[str, Any], schedule: Schedule) -> tuple[Tensor, Tensor, list[list[int]]]:
    """Logits of a prefill and of the token after it, and what was kept."""
    device = inputs["input_ids"].device
    with torch.no_grad(), attach(model, schedule) as trace:
        prefill = model(**inputs, use_cache=True)
        token = torch.full((1, 1), 5, dtype=torch.int64, device=device)
        later = model(input_ids=token, **{CACHE: cache_of(prefill)})
    kept = [stage.kept_indices[0].tolist() for stage in trace.stages]
    return prefill.logits.cpu(), later.logits.cpu(), kept


@pytest.mark.parametrize("family", FAMILIES)
def test_a_default_device(family: str) -> None:
    whole, parts = (SMALL[family]("eager") for _ in range(2))
    for model in (whole, parts):
        model.set_experts_implementation("eager")  # otherwise transformers takes another road on a CPU
    inputs, schedule = prompt_for(family, whole.config), schedule_for(whole.config)
    logits, later, kept = answer(whole, inputs, schedule)
    with two_devices():
        model, inputs = split(parts, 6, *DEVICES), to_device(inputs, DEVICES[0])
        with torch.device(DEVICES[0]):
            got = answer(model, inputs, schedule)
    assert got[2] == kept
    assert torch.equal(got[0], logits)
    assert torch.equal(got[1], later)
