"""A horizon on a terminal: the curve, what it suggests, what it does not prove."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.console import Console

from seats_ops.compare.figures import mean_written
from seats_ops.compare.overall import CONFIDENCE, LEAST
from seats_ops.horizon import MEDIA, RELEVANCE, SHUFFLED, Horizon, Suggestion

from .tables import new_table

PROVES = (
    "Agreement with the model that sees all tokens is no quality: an answer that changes may become better. Several "
    "questions about one clip are not independent, and make intervals too narrow."
)


def print_horizon(console: Console, found: Horizon, suggestion: Suggestion, notes: Sequence[str]) -> None:
    """The table, the layers to use and why, and notes in small print."""
    over = f"mean of {found.num_rows} prompt{'s' * (found.num_rows != 1)}"
    alone = [way for way in found.ways if way in found.modalities]
    whole = "media" if alone else found.modalities[0]
    titles = ["after\nlayer", f"  no\n{whole}", "", "KL"]
    for way in alone:
        titles += [f"    no\n  {way}", "KL"]
    table = new_table("", titles)
    for layer in found.layers:
        cells = [*_interval(found, layer), _kl(found, MEDIA, layer)]
        for way in alone:
            cells += [_agreement(found, way, layer), _kl(found, way, layer)]
        late = layer + 1 == suggestion.late_layer
        table.add_row(f"{layer}, late" if late else str(layer), *cells, style="bold" if late else None)
    console.print(f"Agreement with all tokens once some have left, {over}", style="bold", markup=False)
    console.print(table)
    titles = ["after\nlayer", "by\nrelevance", "KL", "by shuffled\n  scores", "KL", "relevance\n  saves KL", ""]
    table = new_table("", titles)
    for layer in found.layers:
        if layer:
            cells = []
            for way in (RELEVANCE, SHUFFLED):
                cells += [_agreement(found, way, layer), _kl(found, way, layer)]
            cells += [_unsigned(text) for text in mean_written("kl", found.gain(layer), signed=True)]
            drop = layer in suggestion.drop_layers
            table.add_row(f"{layer}, drop" if drop else str(layer), *cells, style="bold" if drop else None)
    if table.row_count:
        said = f"The same where {found.share:.0%} of every modality stay, {over}"
        console.print(said, style="bold", markup=False)
        console.print(table)
    for reason in suggestion.reasons:
        console.print(reason, markup=False)
    if suggestion.conclusive:
        drops = ", ".join(map(str, suggestion.drop_layers)) or "none"
        console.print(
            f"late_layer: {suggestion.late_layer or 'none'}; drop_layers: {drops}", style="bold", markup=False
        )
    said = f"No {whole}: all of it leaves. Agreement: the same likeliest token{_places(found)}. KL: nats."
    ranges = [f"Ranges: {CONFIDENCE:.0%} intervals, by resampling prompts."] if found.num_rows >= LEAST else []
    console.print(*notes, said, *ranges, PROVES, style="dim", markup=False)


def _places(found: Horizon) -> str:
    return "" if found.answer_tokens == 1 else f", at up to {found.answer_tokens} places of the full model's answer"


def _agreement(found: Horizon, way: str, layer: int) -> str:
    return f"{found.mean(way, layer).value:.0%}"


def _kl(found: Horizon, way: str, layer: int) -> str:
    return _unsigned(f"{found.mean(way, layer, 'kl').value:.3f}")


def _unsigned(text: str) -> str:
    """Rounding leaves a sign to a divergence that is 0."""
    return re.sub(r"[+-](?=0\.000)", "", text)


def _interval(found: Horizon, layer: int) -> tuple[str, str]:
    mean = found.mean(MEDIA, layer)
    known = mean.low is not None and mean.high is not None
    return f"{mean.value:.0%}", f"{100 * mean.low:.0f}–{100 * mean.high:.0f}" if known else ""  # type: ignore[operator]
