"""What capturing an input costs, as `seats_ops.cost` says it by name, against the products that an adapter makes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from seats_ops import Ratio, Schedule, Select
from seats_ops.cost import PromptLengths, prefill_cost
from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.families.family import FAMILIES
from seats_ops.integrations.huggingface.families.tower_kinds import AudioTower
from seats_ops.layout import MediaShape, Modality
from seats_ops.operators.scorers import Relevance, Saliency
from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.prompts import Audio, Text, Video, build_prompt

aten: Any = torch.ops.aten
ours: Any = torch.ops.seats_ops
GRID, MEL_FRAMES = (4, 8, 6), 430


class Products(TorchDispatchMode):
    """Multiply-adds of matrix products, and of the primitives that make inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in (aten.mm.default, aten.bmm.default):
            self.macs += out.numel() * args[0].shape[-1]
        elif func in (aten.addmm.default, aten.baddbmm.default):
            self.macs += out.numel() * args[1].shape[-1]
        elif func is ours.attention_received.default:
            query, _, offsets, *_ = args
            self.macs += int(offsets.long().diff().square().sum()) * query[0].numel()
        elif func is ours.query_relevance.default:
            query, key, *_ = args
            self.macs += len(key) * query[0].numel()
        return out


def multiplied(model: Any, inputs: dict[str, Any], schedule: Schedule) -> int:
    mode = Products()
    with torch.no_grad(), attach(model, schedule), mode:
        model(**inputs)
    return mode.macs


ASKED = [
    Relevance(),
    Relevance(weights="next"),
    Relevance("instruction", "attention"),
    Relevance("rows"),
    Saliency(),
    Saliency("mean"),
    Saliency("pooled"),
]


@pytest.mark.parametrize("scorer", ASKED, ids=str)
def test_inputs_cost_what_an_adapter_multiplies_for_them(scorer: Any) -> None:
    model = small_thinker()
    inputs = build_prompt(model.config, Text(9), Video(GRID, 1.0), Audio(MEL_FRAMES), Text(7))
    config, ids = model.config, inputs["input_ids"]
    video, audio = (int((ids == token).sum()) for token in (config.video_token_id, config.audio_token_id))
    frame = GRID[1] * GRID[2] // 4
    shapes = (MediaShape(Modality.VIDEO, GRID[0], 1, frame), MediaShape(Modality.AUDIO, audio))
    assert video == GRID[0] * frame
    lengths = PromptLengths(
        ids.numel() - video - audio, (2 * frame,) * (GRID[0] // 2), (50,) * (audio // 50) + (audio % 50,), shapes=shapes
    )
    # Keeps all, so that nothing else differs.
    layer = 3 if isinstance(scorer, Relevance) else 0
    stage = Select(scorer, Ratio(1.0))
    schedule = Schedule((), {layer: stage}) if layer else Schedule(stage)
    cost = prefill_cost(config, schedule, lengths)
    made = multiplied(model, inputs, schedule) - multiplied(model, inputs, Schedule())
    # What stands at the end of a sound and makes no token takes part in its attention.
    assert cost.unsaid == () and cost.selection_flops == pytest.approx(made, rel=0.03 if not layer else 0.0)


def test_positions_of_a_token_of_sound_are_those_of_the_towers() -> None:
    from seats_ops.cost.own_cost import POOLED

    pooled = {f.thinker: f.audio.pooled for f in FAMILIES if isinstance(f.audio, AudioTower)}
    assert pooled == {"Qwen2_5OmniThinkerForConditionalGeneration": 2, "Qwen3OmniMoeThinkerForConditionalGeneration": 1}
    assert POOLED == {"qwen2_5_omni_audio_encoder": 2}
