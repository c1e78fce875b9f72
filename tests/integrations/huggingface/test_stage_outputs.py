"""What a stage may answer beside a mask, against a decoder written out at full length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from seats_ops import Merge, Modality, PruneTrace, Schedule, Selection, TokenLayout, UnsupportedModelState
from seats_ops.integrations import attach
from seats_ops.integrations.run import ScheduleRun
from seats_ops.operators.stored import to_dict
from seats_ops.testing import layout_of_runs
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.agreement import TOLERANCE, next_in_generate
from tests.integrations.huggingface.batching import batch_of, rows_of
from tests.integrations.huggingface.families.families import SMALL, pristine_of
from tests.integrations.huggingface.oracle_decoder import decoder_layer, decoder_of, linear, norm, rotary
from tests.integrations.huggingface.oracle_inputs import later_embeddings, merge, prompt_positions
from tests.integrations.huggingface.prompts import Image, Text, Video, build_prompt

COUNT = 4
FAMILIES = ("qwen2_5_omni", "qwen3_omni", "qwen3_vl")


@dataclass(frozen=True)
class Answering:
    """Keeps text and media of every second place of the prompt, and answers as it is told."""

    answer: Callable[[Tensor, TokenLayout], Selection]
    kv_rule: str = "sliced"
    merges: bool = False
    renumbers: bool = False
    every: int = 2

    inputs: ClassVar[tuple[str, ...]] = ("features",)

    def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Selection:
        # Padding moves columns; the first token is text, and stays.
        starts = layout.position[layout.cu_seqlens[:-1].long()][layout.rows()]
        keep_mask = layout.is_modality(Modality.TEXT) | ((layout.position - starts) % self.every == 0)
        return self.answer(keep_mask, layout)

    def to_dict(self) -> dict[str, Any]:
        return {}


def to_the_one_before(keep_mask: Tensor, layout: TokenLayout) -> Merge:
    """Every dropped token goes to the nearest kept one of media before it: .75 and -.5, the second row sum is not 1."""
    places = torch.arange(len(layout))
    media_kept = keep_mask & ~layout.is_modality(Modality.TEXT)
    before = torch.where(media_kept, places, -1).cummax(0).values
    dropped = (~keep_mask & (before >= 0)).nonzero().squeeze(1)
    dropped = dropped[layout.rows()[dropped] == layout.rows()[before[dropped]]]
    target = before[dropped]
    own = target.unique()
    coefficient = torch.cat([torch.full((len(own),), 0.75), torch.full((len(dropped),), -0.5)])
    return Merge(torch.cat([own, target]), torch.cat([own, dropped]), coefficient)


def just_kept(keep_mask: Tensor, layout: TokenLayout) -> Selection:
    return Selection(keep_mask)


def merging(keep_mask: Tensor, layout: TokenLayout) -> Selection:
    return Selection(keep_mask, merge=to_the_one_before(keep_mask, layout))


def renumbered(keep_mask: Tensor, layout: TokenLayout) -> Selection:
    return Selection(keep_mask, positions="renumbered")


def backwards(keep_mask: Tensor, layout: TokenLayout) -> Selection:
    """The kept tokens of media of every prompt the other way round, where they stand."""
    kept = keep_mask.nonzero().squeeze(1)
    order = kept.clone()
    for row in range(layout.num_rows):
        mine = (layout.rows()[kept] == row) & ~layout.is_modality(Modality.TEXT)[kept]
        order[mine] = kept[mine].flip(0)
    return Selection(keep_mask, order=order)


def full_length(
    pristine: nn.Module, inputs: dict[str, Any], later: list[int], stages: dict[int, Answering]
) -> tuple[Tensor, list[Tensor]]:
    """Logits of the last prompt token and of everything after it, all tokens running through all layers."""
    text, config = decoder_of(pristine)
    x, additions = merge(pristine, inputs)
    x, prompt = torch.cat([x, later_embeddings(pristine, later)]).double(), len(x)
    total = prompt + len(later)
    start = next_in_generate(pristine, inputs)
    more = torch.arange(start, start + len(later)).expand(3, -1)
    positions = torch.cat([prompt_positions(pristine, inputs), more], 1)
    turn = rotary(config, positions)
    modality = torch.zeros(prompt, dtype=torch.int64)
    for kind, name in ((1, "video_token_id"), (2, "audio_token_id"), (3, "image_token_id")):
        modality[inputs["input_ids"][0] == getattr(pristine.config, name, -1)] = kind
    # Stages here choose by the layout alone: who goes where is known before a layer runs.
    said, alive, kept = {}, torch.arange(prompt), []
    last, stays = torch.full((prompt,), config.num_hidden_layers + 1), torch.ones(prompt, dtype=torch.bool)
    seen_by = {}
    for number, stage in sorted(stages.items()):
        layout = TokenLayout(modality[alive], alive, torch.tensor([0, len(alive)]))
        said[number], seen_by[number] = stage(x[: len(alive)], layout), alive
        gone = alive[~said[number].keep_mask]
        last[gone], stays[gone] = number, stage.kv_rule == "long"
        order = said[number].order
        alive = alive[said[number].keep_mask if order is None else order]
        kept.append(alive.sort().values)
    place = torch.arange(total)  # who comes before whom
    for number in range(config.num_hidden_layers + 1):
        if number:
            allowed = place[None, :] <= place[:, None]
            allowed[:prompt, :prompt] &= last >= number
            allowed[prompt:, :prompt] &= stays & (last >= number)
            allowed |= torch.eye(total, dtype=torch.bool)
            x = decoder_layer(text.layers[number - 1], config, x, *turn, allowed)
            if number <= len(additions):
                x = x + nn.functional.pad(additions[number - 1], (0, 0, 0, len(later)))
        if number not in stages:
            continue
        selection, alive = said[number], seen_by[number]
        if selection.merge is not None:
            for rows in (x, *additions):
                new = {int(target): torch.zeros_like(rows[0]) for target in selection.merge.target}
                for target, source, coefficient in zip(*selection.merge, strict=True):
                    new[int(target)] += float(coefficient) * rows[alive[source]]
                for target, value in new.items():
                    rows[alive[target]] = value
        order = selection.keep_mask.nonzero().squeeze(1) if selection.order is None else selection.order
        place[alive[order]] = place[alive[order]].sort().values
        alive = alive[order]
        if selection.positions == "renumbered":
            positions = positions.clone()
            positions[:, alive] = positions[:, alive[-1:]] - len(alive) + 1 + torch.arange(len(alive))
            turn = rotary(config, positions)
    logits = linear(pristine.lm_head, norm(text.norm, x, config.rms_norm_eps)).float()
    return logits[prompt - 1 :], kept


def check(family: str, inputs: dict[str, Any], stages: dict[int, Answering], attention: str = "sdpa") -> Any:
    model = SMALL[family](attention)
    schedule = Schedule(stages.get(0, ()), {layer: stage for layer, stage in stages.items() if layer})
    with attach(model, schedule) as trace:
        answer = probes.generate(model, inputs, COUNT)
    with torch.no_grad():
        logits, kept = full_length(pristine_of(family), inputs, answer.ids[:-1], stages)
    for stage, columns in zip(trace.stages, kept, strict=True):
        assert torch.equal(stage.kept_indices[0], columns)
    assert (answer.logits - logits).abs().max() < TOLERANCE
    assert answer.ids == logits.argmax(-1).tolist()
    return trace


def prompt(family: str, seed: int = 0) -> dict[str, Any]:
    config = pristine_of(family).config
    if hasattr(config, "audio_config"):
        return build_prompt(config, Text(9), Video((5, 4, 6), 1.0, mel_frames=430), Text(7), seed=seed)
    return build_prompt(config, Text(9), Image((1, 4, 6)), Text(2), Video((5, 4, 6)), Text(7), seed=seed)


@pytest.mark.parametrize("layer", [0, 2, 5])
@pytest.mark.parametrize("family", FAMILIES)
def test_merged_rows_are_what_later_layers_see(family: str, layer: int) -> None:
    trace = check(family, prompt(family), {layer: Answering(merging, merges=True)})
    merge = trace.stages[0].merge
    assert merge is not None and len(merge.coefficient) == len(merge.target) == len(merge.source) > 0
    columns = set(trace.stages[0].kept_indices[0].tolist())
    assert {int(column) for row, column in merge.target.tolist()} <= columns
    assert any(int(column) not in columns for row, column in merge.source.tolist())


@pytest.mark.parametrize("family", ["qwen2_5_omni", "qwen3_vl"])
def test_merges_follow_one_another(family: str) -> None:
    first, second = Answering(merging, merges=True), Answering(merging, merges=True, every=4)
    check(family, prompt(family), {0: first, 3: second})


@pytest.mark.parametrize("family", FAMILIES)
def test_positions_without_gaps_from_a_layer_on(family: str) -> None:
    check(family, prompt(family), {3: Answering(renumbered, renumbers=True)})


def test_positions_are_renumbered_again_after_more_drops() -> None:
    again = Answering(renumbered, renumbers=True, every=4)
    check("qwen2_5_omni", prompt("qwen2_5_omni"), {1: Answering(renumbered, renumbers=True), 3: again})


@pytest.mark.parametrize("layer", [0, 3])
@pytest.mark.parametrize("family", ["qwen2_5_omni", "qwen3_vl"])
def test_order_decides_who_sees_whom(family: str, layer: int) -> None:
    check(family, prompt(family), {layer: Answering(backwards)})


@pytest.mark.parametrize("rules", [("long", "sliced"), ("sliced", "long"), ("long", "long")])
def test_earlier_layers_keep_what_the_rule_says(rules: tuple[str, str]) -> None:
    first, second = Answering(just_kept, kv_rule=rules[0]), Answering(just_kept, kv_rule=rules[1], every=4)
    trace = check("qwen2_5_omni", prompt("qwen2_5_omni"), {2: first, 4: second})
    whole, half, quarter = trace.prompt_lengths[0], *(stage.num_tokens for stage in trace.stages)
    early = quarter + (whole - half if rules[0] == "long" else 0) + (half - quarter if rules[1] == "long" else 0)
    middle = half if rules[1] == "long" else quarter
    assert trace.kv_lengths == [early] * 2 + [middle] * 2 + [quarter] * 3


OF_A_BATCH = {
    "merges": Answering(merging, merges=True),
    "renumbers": Answering(renumbered, renumbers=True),
    "orders": Answering(backwards),
    "keeps keys": Answering(just_kept, kv_rule="long"),
}


@pytest.mark.parametrize("name", OF_A_BATCH)
@pytest.mark.parametrize("family", ["qwen2_5_omni", "qwen3_omni"])
def test_prompts_of_a_batch_answer_as_alone(family: str, name: str) -> None:
    model, stage = SMALL[family]("sdpa"), OF_A_BATCH[name]
    rows = rows_of(model.config, "separate")[:3]
    schedule = Schedule(() if stage.renumbers else stage, {3: stage})
    options = {"max_new_tokens": 3, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    with attach(model, schedule):
        together = model.generate(**batch_of(rows), **options)
        alone = [model.generate(**row, **options) for row in rows]
    for number, one in enumerate(alone):
        for step, logits in enumerate(one.logits):
            assert (together.logits[step][number] - logits[0]).abs().max() < TOLERANCE


def test_beams_of_a_prompt_merge_alike() -> None:
    model = SMALL["qwen3_vl"]("sdpa")
    inputs, stage = prompt("qwen3_vl"), Answering(merging, merges=True)
    with attach(model, Schedule(stage)):
        greedy = model.generate(
            **inputs, max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
        several = model.generate(
            **inputs, max_new_tokens=1, num_beams=2, output_logits=True, return_dict_in_generate=True
        )
    for row in several.logits[0]:
        assert (row - greedy.logits[0][0]).abs().max() < TOLERANCE


def test_values_of_ones_own_replace_states() -> None:
    model = SMALL["qwen2_5_omni"]("sdpa")
    inputs = prompt("qwen2_5_omni")

    @dataclass(frozen=True)
    class Doubling:
        inputs: ClassVar[tuple[str, ...]] = ("features",)
        merges: ClassVar[bool] = True

        def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Selection:
            return Selection(torch.ones_like(layout.modality, dtype=torch.bool), values=2 * features)

        def to_dict(self) -> dict[str, Any]:
            return {}

    seen = []
    hook = model.model.language_model.layers[0].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    with torch.no_grad():
        model(**inputs)
        with attach(model, Schedule(Doubling())):
            model(**inputs)
    hook.remove()
    assert torch.equal(seen[1], 2 * seen[0])


BAD = {
    "a target that is dropped": (
        "merge.target to be tokens that are kept",
        lambda k, la: Merge(*one(~k), torch.ones(1)),
    ),
    "a coefficient that is not finite": ("finite", lambda k, la: Merge(*one(k), torch.tensor([torch.inf]))),
    "a row that is none": ("tokens of the layout", lambda k, la: Merge(one(k)[0], one(k)[1] + 10**6, torch.ones(1))),
    "another dtype": ("int64", lambda k, la: Merge(one(k)[0].int(), one(k)[1], torch.ones(1))),
    "another length": (r"merge.coefficient \[1\]", lambda k, la: Merge(*one(k), torch.ones(2))),
}


def one(mask: Tensor) -> tuple[Tensor, Tensor]:
    """The first token of a mask, twice."""
    first = mask.nonzero().squeeze(1)[:1]
    return first, first


@pytest.mark.parametrize("what", BAD)
def test_merges_that_cannot_be(what: str) -> None:
    message, make = BAD[what]
    model = SMALL["qwen2_5_omni"]("sdpa")
    stage = Answering(lambda keep, layout: Selection(keep, merge=make(keep, layout)), merges=True)
    with attach(model, Schedule(stage)), pytest.raises((ValueError, TypeError), match=message):
        model(**prompt("qwen2_5_omni"))
    with attach(model, Schedule()):
        model(**prompt("qwen2_5_omni"))


@pytest.mark.parametrize(("answer", "name"), [(merging, "merges"), (renumbered, "renumbers")])
def test_what_a_stage_does_it_says(answer: Any, name: str) -> None:
    model = SMALL["qwen2_5_omni"]("sdpa")
    with attach(model, Schedule(after_layer={2: Answering(answer)})), pytest.raises(ValueError, match=f"{name} = True"):
        model(**prompt("qwen2_5_omni"))


def test_orders_that_cannot_be() -> None:
    model = SMALL["qwen2_5_omni"]("sdpa")
    for make, message in (
        (lambda kept: kept[:-1], "every kept token once"),
        (lambda kept: kept.flip(0), "its query"),
    ):
        stage = Answering(lambda keep, la, make=make: Selection(keep, order=make(keep.nonzero().squeeze(1))))
        with attach(model, Schedule(stage)), pytest.raises(ValueError, match=message):
            model(**prompt("qwen2_5_omni"))


def test_states_before_a_merge_are_refused_after_it() -> None:
    @dataclass(frozen=True)
    class Asking:
        inputs: ClassVar[tuple[str, ...]] = ("scores:last_text/attention",)

        def __call__(self, scores: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
            return scores >= 0

        def to_dict(self) -> dict[str, Any]:
            return {}

    stage = Answering(merging, merges=True)
    Schedule(after_layer={2: [Asking(), stage], 3: Asking()})
    with pytest.raises(
        ValueError, match=r"after_layer\[2\]: expected scores:last_text/attention .* got Asking after Answ"
    ):
        Schedule(after_layer={2: [stage, Asking()]})
    assert to_dict(stage) == {"type": "Answering"}


@pytest.mark.parametrize("answer", [merging, backwards])
def test_ranks_that_split_a_model_agree_on_masks_alone(answer: Any) -> None:
    layout = layout_of_runs([[(Modality.VIDEO, 6), (Modality.TEXT, 2)]])
    run = ScheduleRun(layout, None, PruneTrace(), "auto", group=object())
    stage = Answering(answer, merges=answer is merging)
    with mock.patch("seats_ops.integrations.run.same_on_all_ranks", lambda mask, group: mask):
        with pytest.raises(UnsupportedModelState, match="tensor parallelism"):
            run.apply(stage, 2, {"features": torch.randn(8, 4)})
        assert run.apply(Answering(just_kept), 2, {"features": torch.randn(8, 4)}) is not None


def test_columns_asked_for_are_found_in_another_order() -> None:
    model, inputs = SMALL["qwen3_vl"]("sdpa"), prompt("qwen3_vl")
    with torch.no_grad(), attach(model, Schedule(after_layer={2: Answering(backwards)})) as trace:
        columns = trace_columns(model, inputs, trace)
        wanted = torch.tensor([columns[3], columns[-1], columns[10]])
        asked = model(**inputs, logits_to_keep=wanted).logits
        whole = model(**inputs, logits_to_keep=torch.tensor(columns)).logits
    for place, column in enumerate(wanted.tolist()):
        assert (asked[0, place] - whole[0, columns.index(column)]).abs().max() < TOLERANCE


def trace_columns(model: nn.Module, inputs: dict[str, Any], trace: Any) -> list[int]:
    """The columns that a prefill keeps."""
    model(**inputs)
    return trace.stages[-1].kept_indices[0].tolist()
