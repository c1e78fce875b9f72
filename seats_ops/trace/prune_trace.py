"""What happened in the latest prefill: kept tokens, budgets and cache lengths, as a table, as JSON, as a schedule."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from seats_ops.cost.asked import beside
from seats_ops.files import write_whole
from seats_ops.layout import Modality
from seats_ops.operators.recorded_stage import RecordedStage
from seats_ops.schedule import Schedule
from seats_ops.trace.prefill import Prefill
from seats_ops.trace.records import (
    MORE,
    StageRecord,
    item_from_dict,
    layout_from_dict,
    layout_to_dict,
    policy_from,
    record_from_dict,
    record_to_dict,
)
from seats_ops.trace.retention import asked_of_media, mean_asked_of, mean_retention
from seats_ops.trace.values import floats, from_floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from seats_ops.inspector.media import Media

FORMATS = (1, 2, 3)
"""Since 2 a trace knows its tokens; one of format 1 is read and has none. Only a trace of a stage that merged, moved or
renumbered tokens, or said how many one stands for, is of format 3: who knows no more than 2 would replay it wrongly."""


class Summary(str):
    """Text whose `repr` is itself: as the last line of a cell it is shown once, and readable."""

    def __repr__(self) -> str:
        return str(self)


class PruneTrace(Prefill):
    """The latest prefill under `attach`; empty before the first one.

    Attributes:
        stages: one record per stage, in the order they ran; a stage that dropped nothing is there too.
        prompt_lengths: tokens per prompt before any stage, padding not counted.
        prompt_counts: tokens of the prompts by modality name.
        kv_lengths: keys that every layer holds of a prompt, padding included; empty if there was no cache.
        layout: of the prompts before any stage, on the CPU; None in an empty trace and in one of format 1.
        items: videos, sounds and pictures of the prompts, modality by modality, in order of appearance.
        saliency: float32 [T] of the same tokens on the CPU if it was recorded, else None.
        kv_policy: "uniform" or "per-layer" (see `attach`) as the cache was pruned, "" if there was none.

    Example:
        >>> import torch
        >>> from seats_ops import DiversitySelector, Modality, ModalityDropper, PruneTrace, Schedule
        >>> from seats_ops.integrations import Pruning
        >>> from seats_ops.testing import layout_of_runs
        >>> layout = layout_of_runs([[(Modality.VIDEO, 8), (Modality.TEXT, 2)]])
        >>> schedule = Schedule(DiversitySelector(0.5, weighted=False), {2: ModalityDropper()})
        >>> with Pruning(schedule, layout) as pruning:  # or attach(model, schedule), see seats_ops.integrations
        ...     (hidden,) = pruning.before_llm(torch.randn(10, 4))
        ...     for layer in (1, 2):
        ...         (hidden,) = pruning.after_layer(layer, hidden)
        >>> trace = pruning.trace
        >>> [(stage.name, stage.num_tokens) for stage in trace.stages]
        [('DiversitySelector', 6), ('ModalityDropper', 2)]
    """

    def clear(self) -> None:
        """Forget everything; a new prefill begins.

        Example:
            >>> old = PruneTrace(prompt_lengths=[10])
            >>> old.clear()
            >>> old == PruneTrace()
            True
        """
        self.stages, self.prompt_lengths, self.prompt_counts, self.kv_lengths = [], [], {}, []
        self.layout, self.items, self.saliency, self.kv_policy = None, [], None, ""

    def __eq__(self, other: object) -> bool:
        return self.to_json() == other.to_json() if isinstance(other, PruneTrace) else NotImplemented

    def __repr__(self) -> str:
        prompts, stages = len(self.prompt_lengths), len(self.stages)
        left = self.stages[-1].num_tokens if self.stages else sum(self.prompt_lengths)
        return f"<PruneTrace: {prompts} prompt(s), {stages} stage(s), {left} of {sum(self.prompt_lengths)} tokens left>"

    def summary(self) -> Summary:
        """A table of the stages: text that a console or a notebook shows as it is.

        Kept is the share of the prompts' video and audio that is left, asked the same before counts are rounded ("-"
        where a stage does not say). Under it, if there was a cache, are means over all layers by modality.

        Example:
            >>> trace.summary()
            stage              after layer  tokens  text  video  audio  image   kept  asked
            -----------------  -----------  ------  ----  -----  -----  -----  -----  -----
            prompt                              10     2      8      0      0
            DiversitySelector            -       6     2      4      0      0  50.0%  50.0%
            ModalityDropper              2       2     2      0      0      0   0.0%   0.0%
        """
        rows = [("stage", "after layer", "tokens", *_columns(), "kept", "asked")]
        total = sum(self.prompt_lengths)
        media = _media(self.prompt_counts)
        rows.append(("prompt", "", str(total), *_counts(self.prompt_counts), "", ""))
        for stage, asked in zip(self.stages, asked_of_media(self), strict=True):
            shares = (f"{_media(stage.counts) / media:.1%}" if media else "-", "-" if asked is None else f"{asked:.1%}")
            rows.append((stage.name, str(stage.layer or "-"), str(stage.num_tokens), *_counts(stage.counts), *shares))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        lines.insert(1, "  ".join("-" * w for w in widths))
        if self.kv_lengths:
            layers = len(self.kv_lengths)
            kept = beside(mean_retention(self, layers), mean_asked_of(self, layers))
            lines += [f"kept, mean of {layers} layers: {kept}"] if kept else []
            # Rows of a batch are padded to the longest one.
            prompts, full = len(self.prompt_lengths), max(self.prompt_lengths, default=0) * len(self.kv_lengths)
            lines.append(
                f"keys held after prefill: {sum(self.kv_lengths) * prompts} over {len(self.kv_lengths)} layers, "
                f"{sum(self.kv_lengths) / max(1, full):.1%} of the full cache"
            )
        return Summary("\n".join(lines))

    def to_html(
        self,
        path: str | Path,
        media: Media | None = None,
        *,
        other: PruneTrace | None = None,
        names: Sequence[str] = ("A", "B"),
        row: int = 0,
        config: Any = None,
        kv_element_bytes: int = 2,
        layer_seconds: Sequence[Sequence[float]] | None = None,
        layer_clock: str = "",
        exist_ok: bool = False,
    ) -> Path:
        """Write a page that shows every token of a prompt, stage by stage; it opens from disk and needs no network.

        Args:
            path: of the page.
            media: frames, sounds and pictures of the prompt (`seats_ops.inspector.Media`); without it tokens are cells.
            other: a trace of the same prompt to compare with, by another schedule, backend or revision.
            names: of the two.
            row: the prompt, in a batch.
            config: of the model; with it the page shows FLOPs and bytes of every layer.
            kv_element_bytes: bytes of one number in the cache, 2 for bfloat16.
            layer_seconds: measured time of every layer, a list for each trace.
            layer_clock: how it was measured, in words that the page shows beside it.
            exist_ok: replace a file that is there.

        Returns:
            The path.

        Raises:
            ValueError: the trace knows no tokens (it is empty or of format 1), media or the other trace are not those
                of this prompt. FileExistsError: the path exists. OSError: it cannot be written; nothing is left then.

        Example:
            >>> path = trace.to_html("page.html")
            >>> path.name, "<title>" in path.read_text(encoding="utf-8")
            ('page.html', True)
        """
        from seats_ops.inspector import page, write

        options = {"names": names, "config": config, "kv_element_bytes": kv_element_bytes, "layer_clock": layer_clock}
        text = page(self, media=media, other=other, row=row, layer_seconds=layer_seconds, **options)
        return write(path, text, exist_ok=exist_ok)

    def plot(self, axes: Axes | None = None, *, num_layers: int | None = None) -> Axes:
        """Draw the tokens that every layer ran on, by modality, and the keys it holds; of a batch, all prompts.

        Args:
            axes: of matplotlib, to draw on; without them a new figure is made.
            num_layers: of the model; needed only for a prefill without a cache.

        Returns:
            The axes; `trace.plot().figure.savefig("tokens.png")` makes a file.

        Raises:
            ImportError: matplotlib is missing. ValueError: the trace is empty, or nothing tells the number of layers.

        Example:
            >>> axes = trace.plot(num_layers=4)  # of a model with a cache, plot() will do
            >>> axes.figure.savefig("tokens.png")
        """
        from seats_ops.trace.plot import plot

        return plot(self, axes, num_layers)

    def _repr_html_(self) -> str | None:
        """The same in a notebook, in a frame of its own; the plain text of a trace that knows no tokens."""
        if self.layout is None:
            return None
        from html import escape

        from seats_ops.inspector import page

        return f'<iframe srcdoc="{escape(page(self))}" style="width:100%;height:860px;border:0" title="trace"></iframe>'

    def as_schedule(self) -> Schedule:
        """A schedule that keeps the same tokens at the same places, and merges them alike, without scoring anything.

        Raises:
            ValueError: a stage gave values that the trace does not hold, or merged tokens of different prompts.

        Example:
            >>> with Pruning(trace.as_schedule(), layout) as again:
            ...     (hidden,) = again.before_llm(torch.zeros(10, 4))  # whatever the features
            ...     for layer in (1, 2):
            ...         (hidden,) = again.after_layer(layer, hidden)
            >>> torch.equal(again.trace.stages[0].kept_indices[0], trace.stages[0].kept_indices[0])
            True
        """
        recorded = [(stage.layer, _replayed(stage)) for stage in self.stages]
        after_layer: dict[int, list[RecordedStage]] = {}
        for layer, stage in recorded:
            if layer:
                after_layer.setdefault(layer, []).append(stage)
        return Schedule(
            before_llm=tuple(stage for layer, stage in recorded if not layer),
            after_layer={layer: tuple(stages) for layer, stages in after_layer.items()},
        )

    def to_json(self) -> str:
        """JSON text; `from_json` reads it back.

        Example:
            >>> PruneTrace.from_json(trace.to_json()) == trace
            True
        """
        stages = [record_to_dict(stage) for stage in self.stages]
        return json.dumps(
            {
                "format": 3 if any(name in stage for stage in stages for name in MORE) else 2,
                "prompt_lengths": self.prompt_lengths,
                "prompt_counts": self.prompt_counts,
                "kv_lengths": self.kv_lengths,
                "kv_policy": self.kv_policy,
                "layout": None if self.layout is None else layout_to_dict(self.layout),
                "items": [asdict(item) for item in self.items],
                "saliency": floats(self.saliency),
                "stages": stages,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> PruneTrace:
        """Inverse of `to_json`; tensors are on the CPU. Raises ValueError for an unknown format.

        Example:
            >>> PruneTrace.from_json("{}")
            Traceback (most recent call last):
            ValueError: text: expected a prune trace of format 1 to 3, got '{}'
        """
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("format") not in FORMATS:
            raise ValueError(f"text: expected a prune trace of format 1 to {FORMATS[-1]}, got {text[:60]!r}")
        missing = sorted({"stages", "prompt_lengths", "prompt_counts", "kv_lengths"} - set(data))
        if missing or not isinstance(data["stages"], list):
            raise ValueError(f"text: expected a prune trace, got no {', '.join(missing) or 'list of stages'} in it")
        for stage in data["stages"] if data.get("layout") else ():
            kept = sum(map(len, stage["kept_indices"]))
            if kept != stage["num_tokens"]:
                raise ValueError(f"{stage['name']}: expected {stage['num_tokens']} kept_indices, got {kept}")
        return cls(
            stages=[record_from_dict(stage) for stage in data["stages"]],
            prompt_lengths=data["prompt_lengths"],
            prompt_counts=data["prompt_counts"],
            kv_lengths=data["kv_lengths"],
            layout=layout_from_dict(data.get("layout")),
            items=[item_from_dict(item) for item in data.get("items", ())],
            saliency=from_floats(data.get("saliency")),
            kv_policy=policy_from(data.get("kv_policy", "")),
        )

    def save(self, path: str | Path) -> None:
        """Write `to_json` to a file.

        Example:
            >>> trace.save("trace.json")  # on the command line: seats-ops inspect trace.json
        """
        write_whole(Path(path), self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> PruneTrace:
        """Read a file that `save` wrote.

        Example:
            >>> trace.save("other.json")
            >>> PruneTrace.load("other.json") == trace
            True
        """
        return cls.from_json(Path(path).read_text(encoding="utf-8"))


def _replayed(stage: StageRecord) -> RecordedStage:
    where = f"{stage.name} after layer {stage.layer}" if stage.layer else f"{stage.name} before the LLM"
    if stage.values:
        raise ValueError(f"{where}: expected a stage whose new values are a merge, got values that were not recorded")
    merge = None
    if stage.merge is not None:
        target, source = stage.merge.target, stage.merge.source
        if not torch.equal(target[:, 0], source[:, 0]):
            raise ValueError(f"{where}: expected merges within a prompt, got tokens of two prompts merged")
        entries = list(zip(target.tolist(), source[:, 1].tolist(), stage.merge.coefficient.tolist(), strict=True))
        merge = tuple(
            tuple((column, other, value) for (prompt, column), other, value in entries if prompt == row)
            for row in range(len(stage.kept_indices))
        )
    return RecordedStage(
        kept=tuple(tuple(row.tolist()) for row in stage.kept_indices),
        merge=merge,
        order=None if stage.order is None else tuple(tuple(row.tolist()) for row in stage.order),
        positions=stage.positions,
        kv_rule=stage.kv_rule,
    )


def _columns() -> list[str]:
    return [modality.name.lower() for modality in Modality]


def _counts(counts: dict[str, int]) -> list[str]:
    return [str(counts.get(name, 0)) for name in _columns()]


def _media(counts: dict[str, int]) -> int:
    return counts.get("video", 0) + counts.get("audio", 0)
