"""Quantised weights: the layers of bitsandbytes, through transformers' own loading, on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from torch import nn
from transformers import BitsAndBytesConfig

from seats_ops import Schedule, StagePruner
from seats_ops.integrations import attach
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.agreement import TOLERANCE
from tests.integrations.huggingface.golden_case import GoldenCase
from tests.integrations.huggingface.models import golden_thinker
from tests.integrations.huggingface.upstream import place


@pytest.fixture
def case(golden_dir: Path) -> GoldenCase:
    return GoldenCase.load(golden_dir, 0)


def quantised(golden_dir: Path, **options: Any) -> Any:
    config = BitsAndBytesConfig(**options)
    checkpoint = golden_dir / "end_to_end" / "qwen2_5" / "checkpoint"
    return type(golden_thinker(golden_dir)).from_pretrained(checkpoint, quantization_config=config).eval()


@pytest.fixture
def in_4_bits(golden_dir: Path) -> nn.Module:
    """Weights of 4 bits, products in float32."""
    options = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.float32}
    model = quantised(golden_dir, load_in_4bit=True, **options)
    for layer in linears(model, Linear4bit).values():
        # Where a CPU has AVX512-BF16, another kernel would round everything to bfloat16.
        layer.support_avx512bf16_for_cpu = False
    return model


@pytest.fixture
def in_8_bits(golden_dir: Path) -> nn.Module:
    """Weights and inputs of 8 bits."""
    return quantised(golden_dir, load_in_8bit=True)


def linears(model: nn.Module, kind: type) -> dict[str, Any]:
    """The quantised layers of a model by name; its decoder and its towers have some."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, kind)}
    for part in ("model.language_model.layers.7.self_attn.q_proj", "model.visual.blocks", "model.audio_tower.layers"):
        assert any(place(model, part) in name for name in found), part
    return found


def dequantised(golden_dir: Path, weights: dict[str, torch.Tensor]) -> nn.Module:
    """The golden model with these weights, in float32."""
    model = golden_thinker(golden_dir)
    for name, weight in weights.items():
        model.get_submodule(name).weight.data.copy_(weight)
    return model


def answers(model: nn.Module, case: GoldenCase, schedule: Schedule, kv_policy: str) -> tuple[Any, Any]:
    with attach(model, schedule, kv_policy=kv_policy) as trace:
        answer = probes.generate(model, case.inputs, 4)
    return trace, answer


def test_4_bits_select_and_answer_as_their_values(
    in_4_bits: nn.Module, golden_dir: Path, case: GoldenCase, kv_policy: str
) -> None:
    layers = linears(in_4_bits, Linear4bit)
    weights = {name: dequantize_4bit(layer.weight.data, layer.weight.quant_state) for name, layer in layers.items()}
    plain = dequantised(golden_dir, weights)
    schedule = case.schedule(plain.config)
    expected_trace, expected = answers(plain, case, schedule, kv_policy)
    trace, answer = answers(in_4_bits, case, schedule, kv_policy)
    kept = [columns.tolist() for _, columns in probes.kept_sets(trace)]
    assert kept == [columns.tolist() for _, columns in probes.kept_sets(expected_trace)]
    assert kept != [columns.tolist() for _, columns in case.kept], "the quantised weights should have a say"
    assert answer.ids == expected.ids
    assert (answer.logits - expected.logits).abs().max() < TOLERANCE


def test_8_bits_answer_as_closely_as_without_pruning(
    in_8_bits: nn.Module, golden_dir: Path, case: GoldenCase, kv_policy: str
) -> None:
    """Rounded inputs make a choice of their own, so the recorded one is repeated with the exact values."""
    layers = linears(in_8_bits, Linear8bitLt)
    weights = {name: layer.weight.data.float() * layer.weight.SCB[:, None] / 127 for name, layer in layers.items()}
    plain = dequantised(golden_dir, weights)
    with torch.no_grad():
        error = (in_8_bits(**case.inputs).logits - plain(**case.inputs).logits)[0, -1].abs().max()
    trace, answer = answers(in_8_bits, case, case.schedule(plain.config), kv_policy)
    assert [stage.num_tokens for stage in trace.stages] == [len(columns) for _, columns in case.kept]
    _, expected = answers(plain, case, trace.as_schedule(), kv_policy)
    off = (answer.logits[0] - expected.logits[0]).abs().max()
    assert 0 < off < 2 * error


def test_8_bits_without_a_choice_stay_as_they_are(in_8_bits: nn.Module, case: GoldenCase) -> None:
    """Scoring with a quantised layer leaves no mark on it."""
    expected = probes.generate(in_8_bits, case.inputs, 4)
    everything = Schedule(after_layer={2: StagePruner(1.0), 5: StagePruner(1.0)})
    _, answer = answers(in_8_bits, case, everything, "uniform")
    probes.assert_same(answer, expected)
    probes.assert_same(probes.generate(in_8_bits, case.inputs, 4), expected)
