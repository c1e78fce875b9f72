"""A model on two devices selects and answers what it selects and answers on one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.agreement import TOLERANCE
from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.scale_split import split, to_device
from tests.integrations.huggingface.schedules import SCHEDULES
from tests.own_process import assert_passes_alone


def test_two_logical_devices() -> None:
    """On the CPU, in a process of its own: registering a device cannot be undone."""
    assert_passes_alone(Path(__file__).with_name("scale_two_devices.py"))


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_cuda_devices(thinker: nn.Module, attention: str, clip: dict[str, Any], kv_policy: str) -> None:
    first, second = torch.device("cuda", 0), torch.device("cuda", 1)
    whole, parts = thinker.to(first), split(small_thinker(attention), 3, first, second)
    kept, answers = [], []
    for model in (whole, parts):
        with attach(model, SCHEDULES["preset"](model.config), kv_policy=kv_policy) as trace:
            answers.append(probes.generate(model, to_device(clip, first), 4))
        kept.append([(stage.layer, stage.kept_indices[0].tolist()) for stage in trace.stages])
    assert kept[1] == kept[0]
    assert answers[1].ids == answers[0].ids
    assert (answers[1].logits - answers[0].logits).abs().max() < TOLERANCE
    assert [layer.keys.device for layer in answers[1].cache.layers] == [first] * 3 + [second] * 4
