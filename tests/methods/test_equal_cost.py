"""One cost axis for all methods, and what published labels mean on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from transformers import Qwen2_5OmniThinkerConfig

from seats_ops import DiversitySelector, ModalityDropper, Schedule, StagePruner, seats
from seats_ops.cost import PromptLengths, prefill_cost, retained, split_blocks
from seats_ops.layout import MediaShape, Modality
from seats_ops.methods import Protocol, at_equal_cost, at_layer, method, methods, register_method
from seats_ops.methods.method import _METHODS
from seats_ops.schedule import solve_keep_ratios

CONFIG = Qwen2_5OmniThinkerConfig()
SHAPES = (MediaShape(Modality.VIDEO, 50, 12, 16), MediaShape(Modality.AUDIO, 1570))
LENGTHS = PromptLengths(598, split_blocks(9600, 384), split_blocks(1570, 50), shapes=SHAPES)
LAYERS = 28


def average(schedule: Schedule) -> float:
    return retained(schedule, LENGTHS, LAYERS).layer_average


def exactly(schedule: Schedule) -> Schedule:
    """Without the rounding per block, which the published figures do not have either."""
    selectors = [replace(stage, exact_total=True) for stage in schedule.before_llm]
    return Schedule(selectors, schedule.after_layer)


def seats_as_relabelled(final: float, *, late: bool) -> Schedule:
    """What a comparison called SEATS: twice the final ratio enters, and the drops leave half of it."""
    drops, late_layer = (16, 18, 20), 24 if late else None
    # The last of the drops leaves the final ratio: the solver's exponential shares, for a total drop of a half.
    levels = [1.0]
    for ratio in solve_keep_ratios(0.0, 1.0, num_layers=LAYERS, drop_layers=drops, late_layer=late_layer, digits=None):
        levels.append(levels[-1] * ratio)
    thinned = [1.0 - (1.0 - level) / 2 for level in levels]
    after: dict[int, Any] = {
        layer: StagePruner(now / before) for layer, before, now in zip(drops, thinned, thinned[1:], strict=False)
    }
    if late:
        after[late_layer - 1] = ModalityDropper()
    return Schedule(DiversitySelector(2 * final, weighted=False), after)


# From a survey of the released code: label (final share in percent), OmniPack, SEATS with and without the late removal.
LABELS = [(12.5, 20.5, 18.8, 21.0), (10.0, 16.4, 15.0, 16.8), (7.5, 12.3, 11.2, 12.6), (5.0, 8.3, 7.6, 8.5)]


@pytest.mark.parametrize(("final", "omnipack", "with_late", "without_late"), LABELS)
def test_published_labels_name_the_final_share(
    final: float, omnipack: float, with_late: float, without_late: float
) -> None:
    share = final / 100
    assert 100 * average(method("omnipack")(CONFIG, share)) == pytest.approx(omnipack, abs=0.11)
    assert 100 * average(exactly(seats_as_relabelled(share, late=True))) == pytest.approx(with_late, abs=0.11)
    assert 100 * average(exactly(seats_as_relabelled(share, late=False))) == pytest.approx(without_late, abs=0.11)


@pytest.mark.parametrize(
    ("video", "audio", "expected"), [(0.2, 0.55, 24.9), (0.1, 0.45, 14.9), (0.06, 0.35, 10.1)], ids=str
)
def test_retention_of_seats_is_a_layer_average(video: float, audio: float, expected: float) -> None:
    schedule = seats(CONFIG, video=video, audio=audio)
    assert 100 * average(exactly(schedule)) == pytest.approx(expected, abs=0.06)
    # Rounding per block alone moves it by more than that.
    assert abs(average(schedule) - average(exactly(schedule))) < 0.002


def test_average_of_omnipack_is_1_64_times_its_label() -> None:
    for label in (0.1, 0.2, 0.25):
        assert average(method("omnipack")(CONFIG, label)) / label == pytest.approx((18 * 2 + 10) / 28, abs=0.005)


COUNTED = ("divprune-om", "fastv-om", "omnipack", "uniform", "visionzip-om", "evs", "fastv", "v2drop")


@pytest.mark.parametrize("axis", ["layer-average", "flops", "kv"])
def test_all_cost_the_same(axis: str) -> None:
    found = at_equal_cost(COUNTED, CONFIG, LENGTHS, retention=0.3, axis=axis)
    costs = {}
    for one in found:
        assert one.ratio is not None and one.schedule is not None and one.reason == "", one
        again = prefill_cost(CONFIG, method(one.name)(CONFIG, one.ratio), LENGTHS)
        assert one.cost == again
        share = {"layer-average": average(one.schedule), "flops": again.executed_share, "kv": again.kv_share}[axis]
        costs[one.name] = share
    assert max(costs.values()) / min(costs.values()) < 1.04
    if axis == "layer-average":
        assert all(share == pytest.approx(0.3, rel=0.02) for share in costs.values())
    by_name = {one.name: one.ratio for one in found}
    assert len({round(ratio, 2) for ratio in by_name.values()}) >= 4  # equal cost is no equal ratio


def test_what_cannot_be_reached_is_said() -> None:
    low, high = at_equal_cost(["fastv-om", "uniform"], CONFIG, LENGTHS, retention=0.06)
    # Two layers of 28 run on all tokens: 7 % of the work is done before FastV drops the first one.
    assert low.ratio is None and "costs 0.07159 of the whole prompt at least" in low.reason
    assert high.ratio == pytest.approx(0.06, abs=0.002)


def test_what_is_between_two_steps_is_said_by_the_nearest() -> None:
    """Ratios come in steps: cells of 1 x 2 and 1 x 3 tokens of a row of 16, 2 and 3 of 28 layers."""
    [pooled] = at_equal_cost(["pooled"], CONFIG, LENGTHS, retention=0.5)
    thirds, halves = ((50 * 12 * kept + 1570) / 11170 for kept in (6, 8))
    assert thirds < 0.5 < halves and pooled.ratio is None
    assert f"costs {thirds:.4g} of the whole prompt at the nearest, 0.3333, not 0.5" in pooled.reason
    [found] = at_equal_cost(["pooled"], CONFIG, LENGTHS, retention=thirds)
    assert found.ratio == 1 / 3 and found.retained is not None and found.retained.entering == pytest.approx(thirds)
    [dropper] = at_equal_cost(["seats-dropper"], CONFIG, LENGTHS, retention=0.1)
    assert f"costs {3 / 28:.4g} of the whole prompt at the nearest, " in dropper.reason and "not 0.1" in dropper.reason
    [flops] = at_equal_cost(["seats-dropper"], CONFIG, LENGTHS, retention=0.1, axis="flops")
    assert "at the nearest" in flops.reason
    [least] = at_equal_cost(["seats-dropper"], CONFIG, LENGTHS, retention=0.01)
    assert f"costs {1 / 28:.4g} of the whole prompt at least, more than 0.01" in least.reason


def test_a_prompt_that_a_method_refuses_is_a_reason_and_missing_shapes_are_none() -> None:
    few = PromptLengths(10, (36,), shapes=(MediaShape(Modality.VIDEO, 4, 3, 3),))
    [dycoke] = at_equal_cost(["dycoke"], CONFIG, few, retention=0.5)
    assert dycoke.ratio is None and "expected at least 5 frames" in dycoke.reason
    with pytest.raises(ValueError, match=r"lengths: expected shapes.*got None"):
        at_equal_cost(["pooled"], CONFIG, replace(LENGTHS, shapes=None), retention=0.5)
    [uniform] = at_equal_cost(["uniform"], CONFIG, replace(LENGTHS, shapes=None), retention=0.5)
    assert uniform.ratio is not None


def equal(names: list[Any], **options: Any) -> list[Any]:
    return at_equal_cost(names, CONFIG, LENGTHS, **{"retention": 0.3, **options})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: equal(["uniform"], options={"uniform": {"x": 1}}), "uniform: expected options among .* got x"),
        (lambda: equal(["uniform"], options={"v2drop": {}}), "options: expected those of uniform, got v2drop"),
        (lambda: equal(["uniform"], options={"uniform": 3}), "uniform: expected options by name, got 3"),
        (lambda: equal(["v2drop"], options={"v2drop": {"variant": "a"}}), "options: v2drop: variant: expected one of"),
        (lambda: equal(["uniform"], kv_policy="foo"), "kv_policy: expected one of"),
        (lambda: at_equal_cost([], CONFIG, PromptLengths(5), retention=0.3), "lengths: expected a prompt with"),
    ],
)
def test_what_is_asked_for_wrongly_is_no_reason(call: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_keys_that_stay_are_counted() -> None:
    """v2drop leaves the keys of earlier layers: each of them holds what it ran on."""
    schedule = method("v2drop")(CONFIG, 0.5)
    assert all(stage.kv_rule == "long" for _, stage in schedule.stages())
    uniform, per_layer = (
        prefill_cost(CONFIG, schedule, LENGTHS, kv_policy=policy) for policy in ("uniform", "per-layer")
    )
    assert uniform.kv_bytes == per_layer.kv_bytes
    sliced = prefill_cost(CONFIG, method("fastv-om")(CONFIG, 0.5), LENGTHS)
    assert len(set(sliced.kv_bytes_per_layer)) == 1


def test_options_go_to_their_method() -> None:
    options = {"v2drop": {"variant": "qwen2-vl"}}
    plain, other = (
        at_equal_cost(["v2drop"], CONFIG, LENGTHS, retention=0.4, options=given)[0] for given in (None, options)
    )
    assert plain.schedule != other.schedule


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: method("fastvv"), "method: expected one of .*fastv.* got 'fastvv'"),
        (lambda: method("uniform")(CONFIG, 0.1, temperature=1), "uniform: expected options among .* got temperature"),
        (lambda: method("uniform")(CONFIG, 1.5), "ratio: expected"),
        (lambda: at_equal_cost(["uniform"], CONFIG, LENGTHS, retention=2), "retention: expected"),
        (lambda: at_equal_cost(["uniform"], CONFIG, LENGTHS, retention=0.1, axis="time"), "axis: expected one of"),
        (lambda: at_equal_cost([3], CONFIG, LENGTHS, retention=0.1), "methods: expected names or methods"),
        (lambda: retained(Schedule(), PromptLengths(5), LAYERS), "lengths: expected a prompt with video"),
        (lambda: retained(Schedule(), LENGTHS, 0), "num_layers: expected an int from 1"),
        (lambda: register_method("uniform", Protocol("", "", ""), "")(lambda config, ratio: Schedule()), "is taken"),
        (lambda: register_method("mine", Protocol("", "", ""), "")(lambda ratio: Schedule()), "expected a function of"),
    ],
)
def test_what_is_wrong_is_named(call: Any, message: str) -> None:
    methods()
    with pytest.raises((ValueError, TypeError), match=message):
        call()
    assert "mine" not in _METHODS


def test_a_method_moves_behind_a_layer() -> None:
    schedule = method("divprune")(CONFIG, 0.2)
    moved = at_layer(schedule, 2)
    assert moved.before_llm == () and moved.after_layer[2] == schedule.before_llm
    first = seats(CONFIG, video=0.1, audio=0.45)
    assert at_layer(first, 16).after_layer[16] == (*first.before_llm, *first.after_layer[16])
    with pytest.raises(ValueError, match="expected layers from 1"):
        at_layer(schedule, 0)


def test_a_method_does_not_move_behind_its_own_next_stage() -> None:
    schedule = method("omnipack")(CONFIG, 0.3)
    (inner,) = schedule.after_layer
    assert list(at_layer(schedule, inner - 1).after_layer) == [inner - 1, inner]
    with pytest.raises(ValueError, match=f"layer: expected one from 1 to {inner}, .* got {inner + 1}"):
        at_layer(schedule, inner + 1)
    # Nothing is moved that could come second.
    inside = method("fastv")(CONFIG, 0.3)
    assert at_layer(inside, 20) == inside


def test_a_method_that_makes_no_schedule_is_named() -> None:
    try:
        register_method("none", Protocol("", "", ""), "")(lambda config, ratio: None)
        with pytest.raises(TypeError, match="none: expected a Schedule of the function registered, got None"):
            method("none")(CONFIG, 0.5)
    finally:
        _METHODS.pop("none")
