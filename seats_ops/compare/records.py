"""What is measured of one prompt, and how it is written down."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

ALL_TOKENS = "all tokens"
"""Name of the run without a schedule."""


@dataclass(frozen=True)
class Agreement:
    """A pruned model beside the same model with all tokens.

    Attributes:
        tokens: share of places at which both answers have the same token, of the longer answer's places.
        first_token: whether both begin with the same.
        common_prefix: tokens before the first that differs.
        kl: KL(full || pruned) of the next token in nats, at every place of the full model's answer (teacher forced).
        top1: share of these places at which the same token is the likeliest.

    Example:
        >>> from seats_ops.compare import Agreement
        >>> Agreement(tokens=0.5, first_token=True, common_prefix=1, kl=(0.0, 0.5), top1=0.5).mean_kl
        0.25
    """

    tokens: float
    first_token: bool
    common_prefix: int
    kl: tuple[float, ...]
    top1: float

    @property
    def mean_kl(self) -> float:
        """In nats per token."""
        return statistics.fmean(self.kl)


@dataclass(frozen=True)
class RunRecord:
    """One prompt, run in one way.

    Attributes:
        name: of the schedule, or `ALL_TOKENS`.
        answer: token ids, greedy.
        text: the same in words, where something was given to decode them.
        mean_tokens: tokens that a decoder layer runs on, mean of all layers.
        last_tokens: tokens that the last layer runs on.
        flops: of the decoder layers for these tokens, one per multiply-add; computed.
        kv_bytes: keys and values held after the prefill, measured.
        first_token_seconds: measured, one entry per repeat: encoders, selection, decoder layers, logits of the last
            token.
        prefill_seconds: the same without the encoders, whose work no schedule changes.
        peak_bytes: most memory that this work held at once beyond weights and inputs, measured.
        agreement: with the run with all tokens; None for that one itself.
        kept: share of the tokens of every modality that a layer sees, mean of all layers; empty for all tokens.
        asked: the same before counts are rounded; without modalities of which a stage does not say.

    Example:
        >>> from seats_ops.compare import RunRecord
        >>> run = RunRecord("late", (7, 8), None, 90.0, 20, 10**9, 4096, (0.2,), (0.1,), 2**20)
        >>> run.mean_tokens
        90.0
    """

    name: str
    answer: tuple[int, ...]
    text: str | None
    mean_tokens: float
    last_tokens: int
    flops: int
    kv_bytes: int
    first_token_seconds: tuple[float, ...]
    prefill_seconds: tuple[float, ...]
    peak_bytes: int
    agreement: Agreement | None = None
    kept: dict[str, float] = field(default_factory=dict)
    asked: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PromptRecord:
    """One prompt, run in every way; or why it could not be.

    Attributes:
        name: of the prompt.
        identity: what it was, for `resume`: a prompt of this name with another identity is run anew.
        question: for people.
        prompt_tokens: tokens by modality, "text" among them.
        runs: the one with all tokens first, then every schedule's in the order given; empty if it failed.
        error: what went wrong.

    Example:
        >>> from seats_ops.compare import PromptRecord
        >>> record = PromptRecord("clip", error="video: clip.mp4 is damaged")
    """

    name: str
    identity: Any = None
    question: str = ""
    prompt_tokens: dict[str, int] | None = None
    runs: tuple[RunRecord, ...] = ()
    error: str | None = None

    def in_order(self, schedules: Iterable[str]) -> PromptRecord:
        """The same with the runs of `schedules` in their order, after the one with all tokens.

        Example:
            >>> record.in_order(["late"]) == record
            True
        """
        runs = {run.name: run for run in self.runs}
        return replace(self, runs=tuple(runs[name] for name in (ALL_TOKENS, *schedules) if name in runs))

    def to_dict(self) -> dict[str, Any]:
        """For JSON.

        Example:
            >>> record.to_dict()["name"]
            'clip'
        """
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PromptRecord:
        """Inverse of `to_dict`, after JSON. Raises TypeError or ValueError for what is no record.

        Example:
            >>> PromptRecord.from_dict(record.to_dict()) == record
            True
        """
        return cls(**{**_known(cls, data), "runs": tuple(_run(run) for run in data.get("runs", ()))})


def _run(data: Any) -> RunRecord:
    known = _known(RunRecord, data)
    found: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}
    if found.get("agreement") is not None:
        agreement = _known(Agreement, found["agreement"])
        found["agreement"] = Agreement(**{**agreement, "kl": tuple(agreement["kl"])})
    return RunRecord(**found)


def _known(cls: Any, data: Any) -> dict[str, Any]:
    names = {field.name for field in fields(cls)}
    if not isinstance(data, dict) or not data.keys() <= names:
        raise ValueError(f"expected a dict with {', '.join(sorted(names))}, got {str(data)[:60]}")
    return data
