"""The picture of docs/real_features.md: `python -m benchmarks.real_features.plot` draws it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import pyplot
from matplotlib.ticker import PercentFormatter

from benchmarks.report.style import BLUE, CYAN, GREEN, GREY, INK, PURPLE, RED, YELLOW, save

from .run import REAL
from .summary import RANDOM, SMALLER, Results

PICTURE = Path(__file__).parents[2] / "docs" / "images" / "real_features.png"
STYLES = {
    RANDOM: (INK, "-", "o"),
    "uniform": (GREY, "-", "s"),
    "divprune": (BLUE, "-", "o"),
    "divprune-om": (BLUE, "-", "o"),
    "seats-selector": (RED, "-", "^"),
    "evs": (GREEN, "-", "v"),
    "vidcom2": (PURPLE, "-", "D"),
    "dart": (YELLOW, "-", "P"),
    "dycoke": (CYAN, "none", "X"),
    SMALLER: (INK, ":", "d"),
}
PANELS = (
    ("clip", "cer", "character error of captions (lower is better)"),
    ("clip", "radius", "k-centre radius of video (lower is better)"),
    ("sound", "similarity", "speaker similarity (higher is better)"),
)


def draw(results: Path = REAL, target: Path = PICTURE) -> None:
    """Means over items by share kept; bars are 95 % intervals of a method's difference from random."""
    figure, grid = pyplot.subplots(1, len(PANELS), figsize=(14, 5), layout="constrained")
    kinds = {kind: Results(kind, results) for kind, _, _ in PANELS}
    handles = {}
    for axes, (kind, number, label) in zip(grid, PANELS, strict=True):
        one = kinds[kind]
        drawn = [name for name in STYLES if any(name in one.names(ratio) for ratio in one.ratios)]
        for place, name in enumerate(drawn):
            ratios = [ratio for ratio in one.ratios if one.mean(ratio, name, number) is not None]
            if not ratios:
                continue
            gaps = [one.against_random(ratio, name, number) for ratio in ratios]
            bars = np.array([(gap.mean - gap.low, gap.high - gap.mean) for gap in gaps if gap is not None]).T
            colour, line, marker = STYLES[name]
            # On silent video and on sound alone the two are one method.
            handles[name.removesuffix("-om")] = axes.errorbar(
                # Side by side, so that bars can be told apart.
                [float(ratio) * 1.02 ** (place - len(drawn) / 2) for ratio in ratios],
                [one.mean(ratio, name, number) for ratio in ratios],
                None if name == RANDOM else bars,
                color=colour,
                linestyle=line,
                marker=marker,
                markersize=5,
                elinewidth=1,
            )
        axes.set_xscale("log")
        axes.set_xticks([float(ratio) for ratio in one.ratios], minor=False)
        axes.set_xticks([], minor=True)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel("share of tokens that is kept")
        axes.set_title(label, fontsize=10)
        axes.grid(alpha=0.25)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), fontsize=9)
    clips, sounds = (kinds[kind].count for kind in ("clip", "sound"))
    save(figure, target, f"Means over {clips} joined clips and {sounds} joined sounds", False)


if __name__ == "__main__":
    draw()
