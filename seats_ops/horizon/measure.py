"""measure_horizon(model, prompts): prune after every layer in turn, and see what the answers lose."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seats_ops.backend import BACKENDS
from seats_ops.compare.answers import divergence, generated
from seats_ops.cost import KV_POLICIES
from seats_ops.horizon.curves import MEDIA, RELEVANCE, SHUFFLED, Cell
from seats_ops.horizon.result import Horizon
from seats_ops.horizon.shuffled import ShuffledRelevance, shuffle_seed
from seats_ops.integrations.huggingface.attachment import attach
from seats_ops.integrations.huggingface.families.family import Family, find_family
from seats_ops.integrations.huggingface.prompt.question import TurnTokens
from seats_ops.measure.prefill import last_logits_only
from seats_ops.operators.modality_dropper import ModalityDropper
from seats_ops.operators.scorers import Relevance
from seats_ops.operators.select import Ratio, Select
from seats_ops.operators.stage import MEDIA as MODALITIES
from seats_ops.operators.stage import MEDIA_MODALITIES, Stage
from seats_ops.schedule import Schedule
from seats_ops.trace import PruneTrace
from seats_ops.validation import check_choice, check_int, check_ratio, describe


def measure_horizon(
    model: nn.Module,
    prompts: Iterable[Mapping[str, Any] | Callable[[], Mapping[str, Any]]],
    *,
    layers: Sequence[int] | None = None,
    share: float = 0.2,
    answer_tokens: int = 1,
    seed: int = 0,
    labels: Sequence[str] | None = None,
    family: Family | None = None,
    kv_policy: str = "uniform",
    backend: str = "auto",
    on_error: Callable[[int, Exception], None] | None = None,
    progress: Callable[[int, float, str], None] = lambda batch, done, text: None,
) -> Horizon:
    """Measure what the model's own answers lose when media leave after each layer, and whether relevance saves some.

    Every batch is answered with all tokens, then, after every layer in turn, without any media, without each modality
    alone, with the `share` of each modality that is most relevant to the query after that layer (scores as a
    `StagePruner` gets them, over the whole prompt), and with such a share by shuffled scores. Answers are compared
    along the full model's greedy answer (teacher forced): the likeliest tokens, and KL(full || pruned).

    Args:
        model: of a supported family, as for `attach`, in evaluation mode; of a full Omni model the thinker.
        prompts: batches, each keyword arguments of the thinker's `generate`, `input_ids` int64 [B, S] among them, rows
            padded on the left, every one with audio, video or pictures; or functions that make one when it is its
            turn. One at a time is asked for and held.
        layers: after which something leaves, 1-based, up to the last but one; 0: before the first; default: all.
        share: in (0, 1], of every modality's tokens that relevance keeps; at least one of each.
        answer_tokens: length up to which answers are compared. The first comes from the prefill alone; every further
            one takes a decoding step, in which earlier layers keep of the media what `kv_policy` says.
        seed: of the shuffles; a row's do not depend on its batch.
        labels: kind of every row, in the order of the rows, to group results by.
        family, kv_policy, backend: as for `attach`.
        on_error: called with the number of a batch that failed and why; the batch is left out. None: the error is
            raised.
        progress: called with the number of batches done, the share done of the next, and what comes next.

    Returns:
        A `Horizon`.

    Raises:
        TypeError, ValueError: a model or an option that does not fit, no prompts (that ran), a row without media,
            padding on the right, another number of labels, labels with `on_error`. Whatever `attach` and the model
            raise.

    Example:
        >>> from seats_ops.horizon import measure_horizon
        >>> horizon = measure_horizon(model, [inputs], layers=[0, 14], share=0.1)
        >>> horizon.mean("audio", 14, "kl").prompts
        1
    """
    if check_ratio("share", share) == 0:
        raise ValueError(f"share: expected one above 0, as nothing would be left to choose, got {share}")
    known, thinker = find_family(model, family)
    text_model = known.text_model(thinker)
    if model.training:
        raise ValueError("model: expected one in evaluation mode (model.eval()), got one in training mode")
    how = _How(
        family,
        _layers(layers, len(text_model.layers)),
        float(share),
        check_int("answer_tokens", answer_tokens, 1),
        check_int("seed", seed, 0),
        check_choice("kv_policy", kv_policy, KV_POLICIES),
        check_choice("backend", backend, BACKENDS),
    )
    if labels is not None and (isinstance(labels, str) or not all(isinstance(label, str) for label in labels)):
        raise TypeError(f"labels: expected a str per row, got {describe(labels)}")
    if labels is not None and on_error is not None:
        raise ValueError("labels: expected None with on_error, as rows of a batch that is left out would take them")
    ends = TurnTokens.from_model(thinker, text_model.config).ends
    tokens: list[int] = []
    columns: dict[tuple[str, int], list[_Row]] = {}
    with torch.no_grad(), last_logits_only(thinker):
        for number, given in enumerate(prompts):
            try:
                batch = _Batch(thinker, given() if callable(given) else given, how, len(tokens), ends)
                if labels is not None and len(tokens) + len(batch.answers) > len(labels):
                    raise ValueError(f"labels: expected one per row, got {len(labels)} for more rows than that")
                found = batch.measured(lambda done, text, n=number: progress(n, done, text))  # type: ignore[misc]
            except Exception as error:
                if on_error is None:
                    raise
                on_error(number, error)
                continue
            for key, rows in found.items():
                columns.setdefault(key, []).extend(rows)
            tokens += batch.answers[:, 0].tolist()
    if not tokens:
        raise ValueError("prompts: expected at least one batch that runs, got none")
    if labels is not None and len(labels) != len(tokens):
        raise ValueError(f"labels: expected {len(tokens)}, one per row, got {len(labels)}")
    cells = {key: Cell(*zip(*rows, strict=True)) for key, rows in columns.items()}
    return Horizon(
        len(text_model.layers),
        how.layers,
        tuple(name for name in MODALITIES if any(way == name for way, _ in cells)),
        how.share,
        how.answer_tokens,
        how.seed,
        tuple(tokens),
        None if labels is None else tuple(labels),
        cells,
    )


def _layers(given: Sequence[int] | None, num_layers: int) -> tuple[int, ...]:
    if given is None:
        return tuple(range(num_layers))
    layers = tuple(given) if isinstance(given, Sequence) else ()
    if not layers or any(type(layer) is not int or not 0 <= layer < num_layers for layer in layers):
        raise ValueError(f"layers: expected ints from 0 to {num_layers - 1}, got {given!r}")
    if len(set(layers)) < len(layers):
        raise ValueError(f"layers: expected each once, got {given!r}")
    return tuple(sorted(layers))


_Row = tuple[int, float, float, int]
"""Number of a row, agreement, KL, first token."""


@dataclass(frozen=True)
class _How:
    """Options, checked."""

    family: Family | None
    layers: tuple[int, ...]
    share: float
    answer_tokens: int
    seed: int
    kv_policy: str
    backend: str


class _Batch:
    """Prompts that run together, and what the full model answers.

    Attributes:
        answers: int64 [B, N], greedy.
        counts: int64 [B, 3] of "video", "audio", "image".
    """

    def __init__(self, thinker: Any, given: Mapping[str, Any], how: _How, first: int, ends: Collection[int]) -> None:
        self.thinker, self.how, self.first = thinker, how, first
        device = next(thinker.parameters()).device
        self.inputs = {name: x.to(device) if torch.is_tensor(x) else x for name, x in _checked(given, first).items()}
        # A schedule without stages changes no bit, refuses what cannot be pruned, and tells what is in the prompts.
        self.answers, self.logits, trace = self._answered(Schedule())
        assert trace.layout is not None
        self.counts = trace.layout.counts()[:, [int(kind) for kind in MEDIA_MODALITIES]]
        silent = (self.counts.sum(1) == 0).nonzero().flatten().tolist()
        if silent:
            raise ValueError(
                f"prompts: expected audio, video or pictures in every row, got row {first + silent[0]} of text alone"
            )
        # Places of an answer: up to its end, which generate fills up to the longest.
        ended = torch.isin(self.answers, torch.tensor(sorted(ends), dtype=torch.int64, device=self.answers.device))
        self.places = (ended.cumsum(1) - ended.long()) == 0

    def measured(self, progress: Callable[[float, str], None]) -> dict[tuple[str, int], list[_Row]]:
        """(way, layer) -> every row of which something was to leave."""
        present = [name for name, some in zip(MODALITIES, (self.counts > 0).any(0).tolist(), strict=True) if some]
        drops = [MEDIA, *(present if len(present) > 1 else ())]
        plan = [
            (way, layer) for layer in self.how.layers for way in (*drops, RELEVANCE, SHUFFLED) if layer or way in drops
        ]
        found = {}
        for done, (way, layer) in enumerate(plan):
            progress(done / len(plan), f"layer {layer}, {way}")
            rows = self._lost(self._stage(way, layer), layer)
            there = self.counts[:, MODALITIES.index(way)] > 0 if way in MODALITIES else self.counts.sum(1) > 0
            found[way, layer] = [row for row, some in zip(rows, there.tolist(), strict=True) if some]
            if way == MEDIA and len(present) == 1:
                found[present[0], layer] = rows
        return found

    def _stage(self, way: str, layer: int) -> Stage:
        if way not in (RELEVANCE, SHUFFLED):
            return ModalityDropper(MODALITIES if way == MEDIA else (way,))
        scorer = Relevance()
        if way == SHUFFLED:
            rows = range(self.first, self.first + len(self.answers))
            scorer = ShuffledRelevance(seeds=tuple(shuffle_seed(self.how.seed, layer, row) for row in rows))
        return Select(scorer, Ratio(dict.fromkeys(MODALITIES, self.how.share)))

    def _lost(self, stage: Stage, layer: int) -> list[_Row]:
        schedule = Schedule(stage) if layer == 0 else Schedule(after_layer={layer: stage})
        _, logits, _ = self._answered(schedule, self.answers)
        best, places = logits.argmax(-1), self.places
        same = (best == self.logits.argmax(-1)).double()
        numbers = [(each * places).sum(1) / places.sum(1) for each in (same, divergence(self.logits, logits))]
        rows = range(self.first, self.first + len(best))
        return list(zip(rows, *(each.tolist() for each in numbers), best[:, 0].tolist(), strict=True))

    def _answered(self, schedule: Schedule, along: Tensor | None = None) -> tuple[Tensor, Tensor, PruneTrace]:
        """Tokens [B, N], logits [B, N, vocab] and the trace; along given tokens, if any."""
        how = self.how
        length = how.answer_tokens if along is None else along.shape[1]
        with attach(self.thinker, schedule, kv_policy=how.kv_policy, backend=how.backend, family=how.family) as trace:
            return *generated(self.thinker, self.inputs, length, along), trace


def _checked(given: object, first: int) -> Mapping[str, Any]:
    ids = given.get("input_ids") if isinstance(given, Mapping) else None
    if not isinstance(given, Mapping) or not torch.is_tensor(ids) or ids.ndim != 2 or not len(ids):
        raise TypeError(
            f"prompts: expected mappings with input_ids, int64 [B, S], got {describe(given)} with row {first}"
        )
    mask = given.get("attention_mask")
    if torch.is_tensor(mask) and mask.ndim == 2 and not bool(mask[:, -1].all()):
        raise ValueError("attention_mask: expected rows padded on the left, got padding in the last column")
    return given
