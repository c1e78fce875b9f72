"""A horizon as a figure: agreement by layer, one line per way of pruning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seats_ops.horizon.curves import MEDIA, RELEVANCE, SHUFFLED, Curves
from seats_ops.trace.plot import COLOURS, INK
from seats_ops.validation import describe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLES: dict[str, dict[str, Any]] = {
    MEDIA: {"color": INK, "linewidth": 2.0},
    **{name: {"color": COLOURS[name]} for name in ("video", "audio", "image")},
    RELEVANCE: {"color": "#c2410c"},
    SHUFFLED: {"color": "#8a97a5", "linestyle": "--"},
}
BANDS = (MEDIA, RELEVANCE, SHUFFLED)


def labels_of(horizon: Curves) -> dict[str, str]:
    """Way of pruning -> what a legend calls it."""
    names = {name: f"without {name}" for name in horizon.modalities}
    whole = names[horizon.modalities[0]] if len(horizon.modalities) == 1 else "without all media"
    share = f"{horizon.share:.0%}"
    return {**names, MEDIA: whole, RELEVANCE: f"{share} by relevance", SHUFFLED: f"{share} by shuffled scores"}


def plot(horizon: Curves, axes: Axes | None, ways: Sequence[str] | None, metric: str) -> Axes:
    """See `Horizon.plot`."""
    try:
        from matplotlib import pyplot
        from matplotlib.ticker import MaxNLocator
    except ModuleNotFoundError as error:
        raise ImportError("horizon.plot takes the package matplotlib: pip install 'seats_ops[media]'") from error
    if axes is not None and not hasattr(axes, "fill_between"):
        raise TypeError(f"axes: expected matplotlib axes or None, got {describe(axes)}")
    labels = labels_of(horizon)
    curves = {}
    for way in horizon.ways if ways is None else ways:
        layers = [layer for layer in horizon.layers if (way, layer) in horizon.cells]
        if not layers:
            raise ValueError(f"ways: expected some of {horizon.ways}, got {way!r}")
        curves[way] = layers, [horizon.mean(way, layer, metric) for layer in layers]
    if axes is None:
        axes = pyplot.subplots(figsize=(8.0, 4.0), layout="constrained")[1]
    for way, (layers, means) in curves.items():
        axes.plot(layers, [mean.value for mean in means], marker="o", markersize=3, label=labels[way], **STYLES[way])
        # One band is read, five on each other are not.
        if way in BANDS and all(mean.low is not None for mean in means):
            low, high = ([getattr(mean, end) for mean in means] for end in ("low", "high"))
            axes.fill_between(layers, low, high, color=STYLES[way]["color"], alpha=0.12, linewidth=0)
    axes.set_xlabel("layer after which tokens leave (0: before the first)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if metric == "agreement":
        axes.set_ylim(-0.02, 1.02)
        axes.set_ylabel("agreement with all tokens")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    else:
        axes.set_ylim(bottom=0)
        axes.set_ylabel("KL(full || pruned), nats")
    axes.legend(fontsize="small", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return axes
