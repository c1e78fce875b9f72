"""The paper's line of retentions, and budgets on it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seats_ops import Schedule, seats
from seats_ops.cost import PromptLengths, prefill_cost, split_blocks
from seats_ops.methods.seats import FAMILIES, PAPER_RATIOS
from seats_ops.retention import STEPS, fit_retention, highest_retention, paper_ratios

SIZES = {"hidden_size": 3584, "num_attention_heads": 28, "num_key_value_heads": 4}
SIZES |= {"num_hidden_layers": 28, "intermediate_size": 18944, "vocab_size": 152064}
LENGTHS = PromptLengths(text=598, video_blocks=split_blocks(9600, 308), audio_blocks=split_blocks(1570, 50))


def config_of(family: str) -> Any:
    return SimpleNamespace(model_type=family, text_config=SimpleNamespace(**SIZES))


OMNI = config_of("qwen2_5_omni_thinker")


def lengths_for(family: str) -> PromptLengths:
    takes = FAMILIES[family]
    video = LENGTHS.video_blocks if takes.sees_video else ()
    return PromptLengths(598, video, LENGTHS.audio_blocks if takes.hears else ())


@pytest.mark.parametrize("family", PAPER_RATIOS)
def test_the_line_goes_through_the_papers_pairs(family: str) -> None:
    for percent, pair in PAPER_RATIOS[family].items():
        assert paper_ratios(config_of(family), percent / 100) == pytest.approx(pair)


def test_between_and_below_the_pairs() -> None:
    """R = 20 % is half way from (0.10, 0.45) to (0.20, 0.55), R = 5 % half of (0.06, 0.35)."""
    assert paper_ratios(OMNI, 0.20) == pytest.approx((0.15, 0.50))
    assert paper_ratios(OMNI, 0.05) == pytest.approx((0.03, 0.175))
    assert paper_ratios(OMNI, 0.0) == (0.0, 0.0)
    with pytest.raises(ValueError, match=r"retention: expected at most 0.35, .* got 0.36"):
        paper_ratios(OMNI, 0.36)


def test_with_one_modality_the_ratio_is_the_retention() -> None:
    assert paper_ratios(config_of("qwen3_vl"), 0.2) == (0.2, None)
    assert paper_ratios(config_of("phi4_multimodal"), 0.7) == (None, 0.7)


@pytest.mark.parametrize("family", FAMILIES)
def test_both_ends_are_schedules(family: str) -> None:
    config, lengths = config_of(family), lengths_for(family)
    for retention in (0.0, highest_retention(config)):
        video, audio = paper_ratios(config, retention)
        prefill_cost(config, seats(config, video=video, audio=audio), lengths)


@given(st.sampled_from(list(FAMILIES)), st.floats(0.06, 0.6), st.sampled_from(["uniform", "per-layer"]))
@settings(max_examples=40, deadline=None)
def test_what_is_found_fits_and_more_does_not(family: str, share: float, kv_policy: Any) -> None:
    config, lengths = config_of(family), lengths_for(family)
    try:
        fit = fit_retention(config, lengths, flops_share=share, kv_policy=kv_policy)
    except ValueError as error:
        assert "flops_share: expected at least" in str(error)
        return
    assert fit.cost.flops <= share * fit.cost.full_flops
    assert fit.schedule == seats(config, video=fit.video, audio=fit.audio)
    assert fit.cost == prefill_cost(config, fit.schedule, lengths, kv_policy=kv_policy)
    more = fit.retention + 1 / STEPS
    if more <= highest_retention(config):
        video, audio = paper_ratios(config, more)
        next_ = prefill_cost(config, seats(config, video=video, audio=audio), lengths)
        assert next_.flops > share * next_.full_flops


def test_the_papers_own_cost_gives_the_papers_retention() -> None:
    """arXiv 2605.20035: R = 10 % costs 12.2 TFLOPs, R = 15 % 17.3; the formula is a little under them (test_cost)."""
    fit = fit_retention(OMNI, LENGTHS, max_flops=12.25e12)
    assert fit.retention == pytest.approx(0.10, abs=0.002)
    assert (fit.video, fit.audio) == pytest.approx((0.06, 0.35), abs=0.004)


def test_keys_are_bound_under_the_per_layer_policy() -> None:
    fit = fit_retention(OMNI, LENGTHS, max_kv_bytes=100 * 2**20, kv_policy="per-layer")
    assert 99 * 2**20 < fit.cost.kv_bytes <= 100 * 2**20
    same = fit_retention(OMNI, LENGTHS, max_memory_bytes=2**34 + 100 * 2**20, weight_bytes=2**34, kv_policy="per-layer")
    assert same == fit


def test_all_limits_hold() -> None:
    loose = fit_retention(OMNI, LENGTHS, max_flops=30e12, kv_policy="per-layer")
    tight = fit_retention(OMNI, LENGTHS, max_flops=30e12, kv_share=0.1, kv_policy="per-layer")
    assert tight.retention < loose.retention and tight.cost.kv_share <= 0.1


def test_nothing_goes_where_all_tokens_fit() -> None:
    fit = fit_retention(OMNI, LENGTHS, flops_share=1.0)
    assert (fit.retention, fit.video, fit.audio, fit.schedule) == (1.0, 1.0, 1.0, Schedule())
    assert fit.cost.flops == fit.cost.full_flops


def test_the_highest_pair_is_the_end() -> None:
    fit = fit_retention(OMNI, LENGTHS, flops_share=0.9)
    assert (fit.retention, fit.video, fit.audio) == (0.35, 0.30, 0.65)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ({"max_flops": 4e12}, r"max_flops: expected at least 4\.656\d*e\+12, what the prompt costs .* got 4e\+12"),
        ({"flops_share": 0.01}, r"flops_share: expected at least 0\.0419\d*, .* got 0\.01"),
        # 598 tokens of 28 layers, two times 4 heads of 128 numbers of two bytes: 32.7 MiB.
        ({"max_kv_bytes": 2**20}, r"max_kv_bytes: expected at least 32\.7\d* MiB, .* got 1 MiB"),
        (
            {"max_memory_bytes": 2**30, "weight_bytes": 2**30},
            r"max_memory_bytes: expected at least 1056\.7 MiB, what the weights and the prompt cost .* got 1024 MiB",
        ),
        ({"max_memory_bytes": 2**30}, "weight_bytes: expected bytes of the model's weights .* got None"),
        ({}, "fit_retention: expected a limit of FLOPs, KV bytes or memory, got none"),
        ({"flops_share": 1.5}, r"flops_share: expected a number in \[0, 1\], got 1.5"),
        ({"max_flops": -1.0}, "max_flops: expected a finite number > 0"),
    ],
)
def test_budgets_that_cannot_be_met_are_refused(limit: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        fit_retention(OMNI, LENGTHS, **limit)


def test_another_model_is_refused() -> None:
    with pytest.raises(TypeError, match="config: expected that of a whole model or a thinker"):
        fit_retention(SimpleNamespace(**SIZES), LENGTHS, max_flops=1e12)
