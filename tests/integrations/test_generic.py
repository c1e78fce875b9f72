"""`Pruning` in a decoder written here, against the same decoder at full length with a mask per layer."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from seats_ops import (
    DiversitySelector,
    Merge,
    Modality,
    ModalityDropper,
    PruneTrace,
    Schedule,
    Selection,
    StagePruner,
    TokenLayout,
    UnsupportedModelState,
)
from seats_ops import functional as F
from seats_ops.integrations import Pruning
from seats_ops.integrations.run import ScheduleRun
from seats_ops.testing import layout_of_runs
from tests.custom_stages import Custom, every_other, without
from tests.integrations.huggingface.asking import Asks

LAYERS, WIDTH = 5, 32
LAYOUT = layout_of_runs(
    [
        [(Modality.TEXT, 3), *[(Modality.VIDEO, 14), (Modality.AUDIO, 9)] * 2, (Modality.TEXT, 4)],
        [(Modality.TEXT, 2), (Modality.AUDIO, 20), (Modality.TEXT, 5)],
        [(Modality.TEXT, 6)],
    ]
)
SCHEDULE = Schedule(
    before_llm=DiversitySelector(0.6),
    after_layer={1: StagePruner(0.5), 3: [StagePruner(0.7), ModalityDropper(("audio",))], 4: ModalityDropper()},
)


class Decoder:
    """Pre-norm attention layers with 4 query heads and 2 key heads, on packed tokens."""

    def __init__(self) -> None:
        random = torch.Generator().manual_seed(0)
        self.weights = [
            {name: torch.randn(WIDTH, rows, generator=random) / WIDTH**0.5 for name, rows in shapes.items()}
            for shapes in [{"q": 32, "k": 16, "v": 16, "o": WIDTH}] * LAYERS
        ]

    def project(self, layer: int, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normed = torch.nn.functional.layer_norm(hidden, (WIDTH,))
        q, k, v = ((normed @ self.weights[layer - 1][name]).unflatten(-1, (-1, 8)) for name in "qkv")
        return q, k, v

    def attend(self, layer: int, hidden: Tensor, allowed: Tensor) -> Tensor:
        q, k, v = self.project(layer, hidden)
        logits = torch.einsum("qhd,khd->hqk", q, k.repeat_interleave(2, 1)) * 8**-0.5
        mixed = torch.einsum(
            "hqk,khd->qhd", logits.masked_fill(~allowed, -torch.inf).softmax(-1), v.repeat_interleave(2, 1)
        )
        return hidden + mixed.flatten(1) @ self.weights[layer - 1]["o"]

    def score(self, layer: int, hidden: Tensor, query: Tensor, cu_seqlens: Tensor) -> Tensor:
        q, k, _ = self.project(layer, hidden)
        return F.query_relevance(q[query], k, cu_seqlens)


def causal(rows: Tensor) -> Tensor:
    return (rows[:, None] == rows[None]) & torch.ones(len(rows), len(rows), dtype=torch.bool).tril()


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(len(LAYOUT), WIDTH, generator=torch.Generator().manual_seed(1))


def run(decoder: Decoder, tokens: Tensor, schedule: Schedule = SCHEDULE) -> tuple[Tensor, Pruning]:
    saliency = torch.linspace(1, 2, len(tokens))
    with Pruning(schedule, LAYOUT, score=decoder.score, saliency=saliency) as pruning:
        (hidden,) = pruning.before_llm(tokens)
        for layer in range(1, LAYERS + 1):
            hidden = decoder.attend(layer, hidden, causal(pruning.layout.rows()))
            (hidden,) = pruning.after_layer(layer, hidden)
    return hidden, pruning


def alive(pruning: Pruning, layer: int) -> Tensor:
    """bool [T]: tokens that `layer` saw."""
    stages = [stage for stage in pruning.trace.stages if stage.layer < layer]
    if not stages:
        return torch.ones(len(LAYOUT), dtype=torch.bool)
    columns = zip(stages[-1].kept_indices, LAYOUT.cu_seqlens[:-1].tolist(), strict=True)
    return torch.zeros(len(LAYOUT), dtype=torch.bool).index_fill(
        0, torch.cat([c + start for c, start in columns]), True
    )


def test_the_query_is_the_last_text_token(tokens: Tensor) -> None:
    """Media may come after it: a decoder of one's own may end a prompt in them."""
    layout = layout_of_runs(
        [
            [(Modality.TEXT, 3), (Modality.VIDEO, 6), (Modality.TEXT, 2), (Modality.AUDIO, 5)],
            [(Modality.AUDIO, 4), (Modality.TEXT, 1), (Modality.IMAGE, 2), (Modality.VIDEO, 4)],
            [(Modality.VIDEO, 4), (Modality.TEXT, 1)],
        ]
    )
    asked: list[list[int]] = []

    def score(_layer: int, hidden: Tensor, query: Tensor, _cu_seqlens: Tensor) -> Tensor:
        asked.append(query.tolist())
        return torch.linspace(0, 1, len(hidden))

    schedule = Schedule(after_layer={1: StagePruner(0.5), 2: StagePruner(0.5)})
    with Pruning(schedule, layout, score=score) as pruning:
        hidden = tokens[: len(layout)]
        (hidden,) = pruning.before_llm(hidden)
        for layer in (1, 2):
            (hidden,) = pruning.after_layer(layer, hidden)
    kept = pruning.trace.stages[0].kept_indices
    starts = torch.tensor([0, *(len(row) for row in kept)]).cumsum(0).tolist()
    texts = [10, 4, 4]
    assert asked[0] == [10, 16 + 4, 27 + 4]
    assert asked[1] == [start + row.tolist().index(text) for start, row, text in zip(starts, kept, texts, strict=False)]


def test_equals_the_full_length_with_masks(tokens: Tensor) -> None:
    decoder = Decoder()
    got, pruning = run(decoder, tokens)
    hidden = tokens
    for layer in range(1, LAYERS + 1):
        allowed = causal(LAYOUT.rows()) & alive(pruning, layer)[None]
        hidden = decoder.attend(layer, hidden, allowed | torch.eye(len(hidden), dtype=torch.bool))
    last = alive(pruning, LAYERS + 1)
    assert len(got) == int(last.sum()) < len(tokens) / 2
    torch.testing.assert_close(got, hidden[last], rtol=0, atol=2e-5)


def test_survivors_thin_what_a_layer_saw(tokens: Tensor) -> None:
    _, pruning = run(Decoder(), tokens)
    final = alive(pruning, LAYERS + 1)
    for layer in range(1, LAYERS + 1):
        seen = alive(pruning, layer)
        index = pruning.survivors(layer)
        where = torch.arange(int(seen.sum())) if index is None else index
        assert where.tolist() == final[seen].nonzero().flatten().tolist()
    assert pruning.survivors(LAYERS) is None


def test_every_tensor_is_thinned_alike(tokens: Tensor) -> None:
    with Pruning(Schedule(before_llm=ModalityDropper()), LAYOUT) as pruning:
        hidden, place = pruning.before_llm(tokens, torch.arange(len(tokens)))
    assert place.tolist() == (LAYOUT.modality == Modality.TEXT).nonzero().flatten().tolist()
    assert torch.equal(hidden, tokens[place])


def test_a_layer_that_never_came_by_is_told(tokens: Tensor) -> None:
    with pytest.raises(UnsupportedModelState, match="after_layer"), Pruning(SCHEDULE, LAYOUT, **needs()) as pruning:
        pruning.before_llm(tokens)
        pruning.after_layer(1, torch.zeros(len(pruning.layout), WIDTH))


def needs() -> dict[str, Any]:
    return {"score": Decoder().score, "saliency": torch.ones(len(LAYOUT))}


@pytest.mark.parametrize(
    ("name", "arguments", "error"),
    [
        ("schedule", {"schedule": [SCHEDULE]}, TypeError),
        ("layout", {"layout": LAYOUT.modality}, TypeError),
        ("score", {"score": None}, ValueError),
        ("saliency", {"saliency": None}, ValueError),
        ("saliency", {"saliency": torch.ones(3)}, ValueError),
        ("backend", {"backend": "cuda"}, ValueError),
    ],
)
def test_arguments_are_looked_at(name: str, arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        Pruning(**{"schedule": SCHEDULE, "layout": LAYOUT, **needs(), **arguments})


def test_calls_are_looked_at(tokens: Tensor) -> None:
    pruning = Pruning(SCHEDULE, LAYOUT, **needs())
    with pytest.raises(ValueError, match="layer: expected 0"):
        pruning.after_layer(1, tokens)
    with pytest.raises(ValueError, match="hidden"):
        pruning.before_llm(tokens[1:])
    with pytest.raises(ValueError, match=r"others\[0\]"):
        Pruning(SCHEDULE, LAYOUT, **needs()).before_llm(tokens, tokens[1:])


def test_positions_are_the_decoders_own() -> None:
    class Renumbering(Custom):
        renumbers = True

    layout = layout_of_runs([[(Modality.VIDEO, 6), (Modality.TEXT, 2)]])
    schedule = Schedule(after_layer={1: Renumbering(every_other)})
    with pytest.raises(ValueError, match="expected stages that keep positions, which are yours, got Renumbering"):
        Pruning(schedule, layout)

    class Early(Renumbering):
        def __call__(self, layout: TokenLayout, *, backend: str = "auto") -> Any:
            return Selection(every_other(layout), positions="renumbered")

    run = ScheduleRun(layout, None, PruneTrace(), "auto")
    with pytest.raises(ValueError, match="expected positions to be kept before the LLM"):
        run.apply(Early(every_other), 0, {})


def test_merged_rows_in_a_decoder_of_ones_own() -> None:
    layout = layout_of_runs([[(Modality.VIDEO, 4), (Modality.TEXT, 2)]])

    class Halves(Custom):
        inputs: ClassVar[tuple[str, ...]] = ("features",)
        merges: ClassVar[bool] = True

        def __call__(self, features: Tensor, layout: TokenLayout, *, backend: str = "auto") -> Any:
            triples = torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([0.5, 0.5])
            return Selection(without(layout, 1), merge=Merge(*triples))

    hidden = torch.arange(12.0).view(6, 2).requires_grad_()
    with Pruning(Schedule(Halves(every_other)), layout) as pruning:
        merged, position = pruning.before_llm(hidden, torch.arange(6))
    assert position.tolist() == [0, 2, 3, 4, 5]
    assert merged[0].tolist() == [1.0, 2.0] and torch.equal(merged[1:], hidden[2:])
    merged[0].sum().backward()
    assert hidden.grad is not None and hidden.grad[:, 0].tolist() == [0.5, 0.5, 0, 0, 0, 0]
    (stage,) = pruning.trace.stages
    assert stage.merge is not None and stage.merge.source.tolist() == [[0, 0], [0, 1]]
    assert PruneTrace.from_json(pruning.trace.to_json()) == pruning.trace


def asking(names: tuple[str, ...], layer: int = 0) -> tuple[Asks, Schedule]:
    stage = Asks(names)
    drop = Asks((), every_other)
    return stage, Schedule([drop, stage]) if layer == 0 else Schedule(drop, {layer: stage})


@pytest.mark.parametrize("layer", [0, 2])
def test_given_inputs_follow_the_tokens(tokens: Tensor, layer: int) -> None:
    total = len(LAYOUT)
    given = {"saliency:mean": torch.rand(total), "keys": torch.rand(total, 4), "external:clip": torch.rand(total, 2, 2)}
    for name, value in given.items():
        stage, schedule = asking((name, "features", "embeddings"), layer)
        with Pruning(schedule, LAYOUT, given=given) as pruning:
            (hidden,) = pruning.before_llm(tokens)
            for number in range(1, layer + 1):
                (hidden,) = pruning.after_layer(number, 2 * hidden)
        keep_mask = every_other(LAYOUT)
        assert torch.equal(stage.seen[0][name], value[keep_mask])
        assert torch.equal(stage.seen[0]["embeddings"], tokens[keep_mask])
    assert torch.equal(stage.seen[0]["features"], tokens[keep_mask] * 2**layer)


def test_saliency_and_embeddings_among_given(tokens: Tensor) -> None:
    saliency, embeddings = torch.rand(len(LAYOUT)), torch.rand(len(LAYOUT), 3)
    stage, schedule = asking(("saliency", "embeddings"))
    with Pruning(schedule, LAYOUT, given={"saliency:sum": saliency, "embeddings": embeddings}) as pruning:
        pruning.before_llm(tokens)
    assert torch.equal(stage.seen[0]["saliency"], saliency[every_other(LAYOUT)])
    assert torch.equal(stage.seen[0]["embeddings"], embeddings[every_other(LAYOUT)])


@pytest.mark.parametrize("name", ["saliency", "saliency:mean", "keys", "external:clip", "grid", "seconds", "question"])
def test_what_is_missing_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=name.partition(":")[0]):
        Pruning(asking((name,))[1], LAYOUT, given={"external:other": torch.ones(len(LAYOUT))})


@pytest.mark.parametrize("name", ["previous", "scores:rows/own", "scores:last_text/next"])
def test_what_a_decoder_is_not_asked_for(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}', which Asks after layer 1"):
        Pruning(asking((name,), 1)[1], LAYOUT, score=Decoder().score)


def test_scores_by_their_full_name(tokens: Tensor) -> None:
    stage, schedule = asking(("scores:last_text/own",), 1)
    with Pruning(schedule, LAYOUT, score=lambda layer, hidden, query, offsets: hidden[:, 0].abs()) as pruning:
        pruning.after_layer(1, *pruning.before_llm(tokens))
    assert torch.equal(stage.seen[0]["scores"], tokens[every_other(LAYOUT), 0].abs())


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ([torch.ones(3)], TypeError),
        ({"keys": [1.0]}, TypeError),
        ({"keys": torch.ones(len(LAYOUT))}, ValueError),
        ({"keys": torch.ones(3, 2)}, ValueError),
        ({"saliency:mean": torch.ones(len(LAYOUT), 2)}, ValueError),
        ({"saliency:mean": torch.ones(len(LAYOUT), dtype=torch.int64)}, TypeError),
        ({"external:clip": torch.ones(3)}, ValueError),
        ({"external:clip": torch.tensor(1.0)}, ValueError),
        ({"features": torch.ones(len(LAYOUT), 2)}, ValueError),
        ({"scores:rows/own": torch.ones(len(LAYOUT))}, ValueError),
        ({"clip": torch.ones(len(LAYOUT))}, ValueError),
        ({"saliency": torch.ones(len(LAYOUT))}, ValueError),
        ({"keys": torch.ones(len(LAYOUT), 2, device="meta")}, ValueError),
    ],
)
def test_given_inputs_are_looked_at(given: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"given|saliency"):
        Pruning(SCHEDULE, LAYOUT, **needs(), given=given)
