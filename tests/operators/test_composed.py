"""Stages made of stages, and that the pieces keep to the protocol."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from transformers import Qwen2_5OmniThinkerConfig

from seats_ops import (
    Both,
    DiversitySelector,
    Merge,
    Modality,
    ModalityDropper,
    PerModality,
    Ratio,
    Schedule,
    Select,
    Selection,
    StagePruner,
    TokenLayout,
)
from seats_ops.cost import PromptLengths, prefill_cost, token_counts
from seats_ops.layout import MediaShape
from seats_ops.methods import method, methods
from seats_ops.operators.found import Found
from seats_ops.operators.registry import REGISTERED
from seats_ops.operators.scorers import Relevance, Saliency
from seats_ops.operators.selectors import MaxMin, RandomK, Strided, TopK
from seats_ops.operators.stage import KeepRatio
from seats_ops.operators.stage_call import call_stage
from seats_ops.operators.stored import Stored
from seats_ops.testing import check_stage, layout_of_runs
from seats_ops.testing.stage_inputs import generators_for, tensors_for

VIDEO, AUDIO, TEXT = Modality.VIDEO, Modality.AUDIO, Modality.TEXT
SALIENT = Select(Saliency(), Ratio(0.2))
EVEN = Select(None, Ratio(0.3), Strided())


@dataclass(frozen=True)
class ToTheFirst(Stored):
    """Keeps the first token of every prompt's video, which becomes the mean of all of it."""

    inputs: ClassVar[tuple[str, ...]] = ("features",)
    merges: ClassVar[bool] = True
    modality: str = "video"

    def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Selection:
        mine = layout.is_modality(Modality[self.modality.upper()])
        keep_mask, triples = ~mine, []
        for row in range(layout.num_rows):
            tokens = (mine & (layout.rows() == row)).nonzero().squeeze(1)
            if len(tokens):
                keep_mask = keep_mask.index_fill(0, tokens[:1], True)
                triples += [(tokens[0], token, 1 / len(tokens)) for token in tokens]
        parts = [torch.tensor([triple[i] for triple in triples], device=features.device) for i in range(3)]
        merge = Merge(parts[0].long(), parts[1].long(), parts[2].float())
        return Selection(keep_mask, merge=merge)


@dataclass(frozen=True)
class AsManyAsKept(Stored):
    """Keeps the first tokens of the video, as many as an earlier part keeps of the audio."""

    inputs: ClassVar[tuple[str, ...]] = ("kept",)

    def __call__(self, kept: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Tensor:
        keep_mask = ~layout.is_modality(VIDEO)
        for row in range(layout.num_rows):
            here = layout.rows() == row
            number = int((kept & here & layout.is_modality(AUDIO)).sum())
            keep_mask[(layout.is_modality(VIDEO) & here).nonzero().squeeze(1)[:number]] = True
        return keep_mask


def example() -> TokenLayout:
    return layout_of_runs([[(TEXT, 2), (VIDEO, 20), (AUDIO, 10), (TEXT, 1)], [(AUDIO, 5), (VIDEO, 7), (TEXT, 3)]])


def run(stage: Any, layout: TokenLayout) -> Any:
    given = tensors_for(layout, torch.float32, inputs=stage.inputs) | generators_for(stage, layout)
    return call_stage(stage, layout, given, "auto")


def test_both_keep_what_either_keeps() -> None:
    layout = example()
    found = run(Both(SALIENT, EVEN), layout)
    assert torch.equal(found.keep_mask, run(SALIENT, layout) | run(EVEN, layout))
    assert found.merge is None


def test_the_second_sees_only_what_the_first_dropped() -> None:
    layout = example()
    first = run(SALIENT, layout)
    rest = layout.select(~first | layout.is_modality(TEXT))
    kept = set(rest.position[run(EVEN, rest)].tolist())  # positions of both prompts, side by side
    found = run(Both(SALIENT, EVEN, on_the_rest=True), layout)
    added = found.keep_mask & ~first
    assert set(layout.position[added].tolist()) <= kept
    for kind in (VIDEO, AUDIO):
        for row in range(2):
            here = layout.is_modality(kind) & (layout.rows() == row)
            n, k = int(here.sum()), int((first & here).sum())
            assert int((found.keep_mask & here).sum()) == k + max(1, round(0.3 * (n - k)))


def test_every_modality_has_its_own_stage() -> None:
    layout = example()
    found = run(PerModality({"audio": SALIENT, "video": AsManyAsKept()}), layout)
    audio = layout.is_modality(AUDIO)
    assert torch.equal(found.keep_mask[audio], run(SALIENT, layout)[audio])
    for row, number in enumerate((2, 1)):
        here = layout.is_modality(VIDEO) & (layout.rows() == row)
        assert found.keep_mask[here].tolist() == [True] * number + [False] * (int(here.sum()) - number)
    # In the other order nothing of the audio is gone yet.
    other = run(PerModality([("video", AsManyAsKept()), ("audio", SALIENT)]), layout)
    assert int((other.keep_mask & layout.is_modality(VIDEO)).sum()) == 10 + 5


def test_merges_of_parts_are_joined_and_each_keeps_to_its_modality() -> None:
    layout = example()
    stage = PerModality({"video": ToTheFirst(), "audio": ToTheFirst("audio")})
    assert stage.merges
    merge = run(stage, layout).merge
    assert len(merge.source) == 20 + 10 + 5 + 7
    assert torch.equal(layout.modality[merge.target], layout.modality[merge.source])
    with pytest.raises(ValueError, match="expected every row to be merged once, got row 2 twice"):
        run(Both(ToTheFirst(), ToTheFirst()), layout)
    after = run(Both(Select(Saliency(), Ratio(0.2)), ToTheFirst(), on_the_rest=True), layout)
    assert bool(after.keep_mask[after.merge.target].all())


@pytest.mark.parametrize(
    "stage",
    [
        Both(SALIENT, EVEN, on_the_rest=True),
        PerModality({"audio": DiversitySelector(0.4), "video": Select(None, Ratio(0.2), MaxMin())}),
        PerModality([("video", Both(SALIENT, EVEN))]),
    ],
    ids=["both", "per modality", "nested"],
)
def test_stored_with_all_parts(stage: Any) -> None:
    schedule = Schedule(stage)
    again = Schedule.from_dict(json.loads(json.dumps(schedule.to_dict())))
    assert again == schedule and hash(again) == hash(schedule)


PIECES = {
    "saliency": SALIENT,
    "by frame": Select(Saliency("mean"), Ratio({"video": 0.4, "image": 0.5}, group="frame", rounding="ceil")),
    "lowest": Select(Relevance(), Ratio(0.4), TopK(largest=False)),
    "exact": Select(Saliency(), Ratio(0.3, group="item", exact_total=True, minimum=0)),
    "strided": EVEN,
    "by chance": Select(None, Ratio(0.3), RandomK()),
    "diverse": Select(None, Ratio(0.3), MaxMin()),
    "both": Both(SALIENT, EVEN, on_the_rest=True),
    "per modality": PerModality({"audio": SALIENT, "video": EVEN}),
    "exact blocks": DiversitySelector(0.3, exact_total=True),
}


@pytest.mark.parametrize("name", PIECES)
def test_the_protocol_is_kept(name: str) -> None:
    check_stage(PIECES[name])


def test_a_stage_that_merges_is_checked_for_what_it_merges() -> None:
    @dataclass(frozen=True)
    class Careless(ToTheFirst):
        merges: ClassVar[bool] = False

    @dataclass(frozen=True)
    class Wild(ToTheFirst):
        def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Selection:
            found = super().__call__(features, layout)
            return Selection(found.keep_mask, merge=found.merge._replace(coefficient=found.merge.coefficient / 0))

    with pytest.raises(AssertionError, match="merges = True of a stage that does"):
        check_stage(Careless())
    with pytest.raises(AssertionError, match=r"merge\.coefficient to be finite"):
        check_stage(Wild())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Both(SALIENT, "even"), "second: expected stages such as"),
        (lambda: PerModality({"smell": SALIENT}), "stages: expected modalities among"),
        (lambda: PerModality([("video", SALIENT), ("video", EVEN)]), "each once"),
        (lambda: PerModality({"video": 0.5}), r"stages\['video'\]: expected stages such as"),
    ],
)
def test_parts_that_are_none(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def drawn(n: int, k: int, seed: int) -> set[int]:
    """Places that the first k of a permutation of n names."""
    return set(torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:k].tolist())


def by_chance(ratio: KeepRatio, seed: int) -> Select:
    return Select(None, Ratio(ratio), RandomK(seed))


def test_parts_draw_by_their_own_seeds() -> None:
    layout = layout_of_runs([[(VIDEO, 40), (TEXT, 1)], [(VIDEO, 20), (TEXT, 1)]])
    for first, second in ((3, 4), (4, 3), (7, 7)):
        found = run(Both(by_chance(0.25, first), by_chance(0.5, second)), layout)
        for row, n in ((0, 40), (1, 20)):
            kept = found.keep_mask[layout.is_modality(VIDEO) & (layout.rows() == row)].nonzero().flatten().tolist()
            assert set(kept) == drawn(n, n // 4, first) | drawn(n, n // 2, second)


def test_a_second_part_draws_of_the_rest_by_its_own_seed() -> None:
    layout = layout_of_runs([[(VIDEO, 40), (TEXT, 1)]])
    found = run(Both(by_chance(0.25, 1), by_chance(0.5, 2), on_the_rest=True), layout)
    first = drawn(40, 10, 1)
    rest = [i for i in range(40) if i not in first]
    assert set(found.keep_mask[:40].nonzero().flatten().tolist()) == first | {rest[i] for i in drawn(30, 15, 2)}


def test_modalities_draw_by_their_own_seeds() -> None:
    layout = layout_of_runs([[(VIDEO, 40), (AUDIO, 40), (TEXT, 1)]])
    for video, audio in ((1, 2), (2, 1), (5, 5)):
        stage = PerModality({"video": by_chance(0.25, video), "audio": by_chance({"audio": 0.25}, audio)})
        places = run(stage, layout).keep_mask[:80].view(2, 40)
        assert set(places[0].nonzero().flatten().tolist()) == drawn(40, 10, video)
        assert set(places[1].nonzero().flatten().tolist()) == drawn(40, 10, audio)


@pytest.mark.parametrize("exact_total", [False, True])
def test_stages_of_modalities_are_counted_as_they_are_alone(exact_total: bool) -> None:
    thin = DiversitySelector({"video": 0.3}, weighted=False, exact_total=exact_total)
    stage = PerModality({"video": thin, "audio": ModalityDropper(("audio",))})
    lengths = PromptLengths(3, video_blocks=(5, 5, 1), audio_blocks=(4,), windows=((11, 4),))
    (said,) = token_counts(Schedule(stage), lengths)
    # 1.5 of 5 rounds to 2, and 0.3 of 1 up to 1; all eleven together keep 3.3 of them.
    kept = 3 if exact_total else 2 + 2 + 1
    assert (said.text, said.video, said.audio, said.low, said.high) == (3, kept, 0, 3 + kept, 3 + kept)
    layout = layout_of_runs([[(TEXT, 2), (VIDEO, 11), (AUDIO, 4), (TEXT, 1)]])
    block = torch.tensor([-1] * 2 + [0] * 5 + [1] * 5 + [2] + [3] * 4 + [-1])
    layout = replace(layout, block=block, blocks=None)
    assert int(run(stage, layout).keep_mask.sum()) == said.total


def test_a_modality_that_is_dropped_is_gone_for_sure_after_a_pruner() -> None:
    lengths = PromptLengths(3, video_blocks=(20,), audio_blocks=(10,), windows=((10, 5), (10, 5)))
    schedule = Schedule(after_layer={4: StagePruner(0.5), 8: PerModality({"video": ModalityDropper(("video",))})})
    pruned, dropped = token_counts(schedule, lengths)
    assert pruned.low < pruned.high and dropped.video == 0
    assert 3 < dropped.low <= dropped.total == 3 + dropped.audio <= dropped.high < pruned.high


def test_a_part_that_cannot_be_counted_is_named() -> None:
    with pytest.raises(TypeError, match="got AsManyAsKept"):
        token_counts(Schedule(PerModality({"video": AsManyAsKept()})), PromptLengths(3, video_blocks=(4,)))


def test_nothing_is_registered_under_a_private_name() -> None:
    methods()  # all modules of methods are imported
    assert not [name for name in REGISTERED if name.startswith("_")]


@dataclass(frozen=True)
class Counting(ToTheFirst):
    """`ToTheFirst`, which says for how many tokens the first one stands."""

    def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Selection:
        found = super().__call__(features, layout)
        assert found.merge is not None
        numbers = torch.ones(len(layout)).index_add(0, found.merge.target, torch.ones(len(found.merge.target)))
        return replace(found, multiplicity=numbers - found.keep_mask.float() * (numbers > 1))


@pytest.mark.parametrize(
    ("stage", "merges_sound"),
    [
        (PerModality({"video": Counting(), "audio": Counting("audio")}), True),
        (PerModality({"audio": Counting("audio"), "video": Counting()}), True),
        (Both(PerModality({"video": Counting()}), ModalityDropper(), on_the_rest=True), False),
        (Both(ModalityDropper(), Counting()), False),
        (Both(ModalityDropper(), Counting(), on_the_rest=True), False),
    ],
    ids=["both modalities", "the other order", "first of a pair", "second of a pair", "of the rest"],
)
def test_rows_stand_for_as_many_tokens_as_in_the_parts(stage: Any, merges_sound: bool) -> None:
    layout = example()
    found = run(stage, layout)
    expected = torch.ones(len(layout))
    for row, (video, sound) in enumerate(((20, 10), (7, 5))):
        for kind, number in ((VIDEO, video), (AUDIO, sound if merges_sound else 1)):
            here = (layout.is_modality(kind) & (layout.rows() == row)).nonzero().flatten()
            expected[here[0]] = number
    kept = found.keep_mask
    assert torch.equal(found.multiplicity[kept], expected[kept])
    assert run(Both(SALIENT, EVEN), layout).multiplicity is None


@dataclass(frozen=True)
class StaysLong(Select):
    """A choice that leaves earlier layers their keys."""

    kv_rule: ClassVar[str] = "long"


def test_parts_hand_on_whose_keys_stay() -> None:
    long = StaysLong(None, Ratio(0.3), Strided())
    none = StaysLong(None, Ratio(0.0, minimum=0), Strided())
    lengths = PromptLengths(8, video_blocks=(90,), audio_blocks=(10,))
    config = Qwen2_5OmniThinkerConfig()
    alone = prefill_cost(config, Schedule(after_layer={3: long}), lengths)
    for stage in (PerModality({"video": long, "audio": long}), Both(long, none, on_the_rest=True)):
        assert stage.kv_rule == "long"
        assert prefill_cost(config, Schedule(after_layer={3: stage}), lengths).kv_bytes == alone.kv_bytes
    assert Both(SALIENT, EVEN).kv_rule == PerModality({}).kv_rule == "sliced"


@pytest.mark.parametrize("make", [lambda a, b: Both(a, b), lambda a, b: PerModality({"video": a, "audio": b})])
def test_parts_that_want_different_keys_to_stay_are_refused(make: Any) -> None:
    long = StaysLong(None, Ratio(0.3), Strided())
    for pair in ((long, EVEN), (EVEN, long)):
        with pytest.raises(ValueError, match=r"expected parts of one kv_rule, got '\w+' of \w+, '\w+' of \w+"):
            make(*pair)


def counted(stage: Any, layout: TokenLayout) -> None:
    """What runs is what was counted, or lies in its bounds."""
    found, rows = run(stage, layout), layout.rows()
    for row in range(layout.num_rows):
        (said,) = token_counts(Schedule(stage), PromptLengths.from_layout(layout, row))
        left = int((found.keep_mask & (rows == row)).sum())
        assert said.low <= left <= said.high and said.low <= said.total <= said.high
        if stage.count_kind == "shape":
            assert left == said.total == said.low == said.high


BLOCKS = DiversitySelector(0.3, weighted=False)


@pytest.mark.parametrize(
    "stage",
    [
        Both(SALIENT, EVEN, on_the_rest=True),
        Both(BLOCKS, DiversitySelector({"video": 0.5}, weighted=False), on_the_rest=True),
        Both(BLOCKS, EVEN, on_the_rest=True),
        Both(ModalityDropper(("video",)), BLOCKS, on_the_rest=True),
        PerModality({"video": Both(SALIENT, EVEN, on_the_rest=True), "audio": ModalityDropper(("audio",))}),
    ],
    ids=["pieces", "blocks", "blocks then pieces", "blocks of what was dropped", "by modality"],
)
def test_a_choice_and_one_of_the_rest_are_counted_exactly(stage: Any) -> None:
    assert stage.count_kind == "shape"
    counted(stage, example())


def test_a_union_lies_between_the_larger_part_and_both() -> None:
    union = Both(SALIENT, EVEN)
    assert union.count_kind == "data"
    counted(union, example())
    lengths = PromptLengths(3, video_blocks=(40,))
    (said,) = token_counts(Schedule(union), lengths)
    # 8 and 12 of 40; by chance 8 * 12 / 40 = 2.4 are in both.
    assert (said.low, said.high, said.video) == (3 + 12, 3 + 20, 18)
    nested = Both(union, EVEN, on_the_rest=True)
    assert nested.count_kind == "data"
    counted(nested, example())
    cost = prefill_cost(Qwen2_5OmniThinkerConfig(), Schedule(union), lengths)
    assert 0 < cost.flops_share < 1


def test_stages_of_modalities_count_without_a_schedule() -> None:
    stage = PerModality({"video": ModalityDropper(("video",)), "audio": DiversitySelector(0.5)})
    found = Found({"text": 3, "video": 8, "audio": 9, "image": 0}, None, {}, {"video": (8,), "audio": (5, 4)})
    assert stage.count_tokens(found) == {"text": 3, "video": 0, "audio": 2 + 2, "image": 0}
    assert stage.count_bounds(found)["audio"] == (4, 4)
    with pytest.raises(
        ValueError, match="expected the blocks of video to count what DiversitySelector leaves, got none"
    ):
        stage.count_tokens(dict(found))


def test_a_chain_whose_second_part_goes_by_items_says_who_thinned_them() -> None:
    lengths = PromptLengths(3, video_blocks=(24,), shapes=(MediaShape(VIDEO, 4, 2, 3),))
    by_frame = Select(None, Ratio({"video": 0.5}, group="frame"), Strided())
    assert token_counts(Schedule(by_frame), lengths)[0].video == 4 * 3
    half = Select(None, Ratio({"video": 0.5}), Strided())
    for second in (by_frame, method("evs")(None, 0.5).before_llm[0]):
        with pytest.raises(ValueError, match=r"expected the shapes of all items .*: a stage before has thinned them"):
            token_counts(Schedule([half, second]), lengths)
        with pytest.raises(ValueError, match=r"expected the shapes of all items .*, got none$"):
            token_counts(Schedule(second), replace(lengths, shapes=None))
    with pytest.raises(ValueError, match="expected modality, item or frame where tokens are counted, got 'block'"):
        token_counts(Schedule(Select(None, Ratio(0.5, group="block"), Strided())), lengths)
