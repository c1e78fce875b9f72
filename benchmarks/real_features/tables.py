"""The tables of docs/real_features.md: `python -m benchmarks.real_features.tables` prints them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report.numbers import NOTHING, table
from seats_ops.methods import methods

from .run import REAL
from .summary import RANDOM, Results

CLIP = {"cer": "character error", "radius": "k-centre radius", "facility": "facility location"}
SHARES = {
    "caption": "of captions",
    "caption_seen": "of captions, in any grid",
    "after_cuts": "of grids after a cut",
    "cuts": "cuts with a kept token",
}
SHOWN = ("0.05", "0.1", "0.25")
SOUND = {
    "similarity": "speaker similarity",
    "right": "right speaker",
    "radius": "k-centre radius",
    "facility": "facility location",
    "early": "share of the first quarter of a piece",
}


def tables(path: Path = REAL) -> dict[str, str]:
    """Markdown by heading of the page."""
    clips, sounds = Results("clip", path), Results("sound", path)
    return {
        "Reading": _across(clips, "cer"),
        "Coverage": "\n\n".join(
            f"{CLIP[number].capitalize()}:\n\n{_across(clips, number)}" for number in ("radius", "facility")
        ),
        "Where tokens stay": "\n\n".join(f"At {float(ratio):.0%}:\n\n{_shares(clips, ratio)}" for ratio in SHOWN),
        "Hearing": "\n\n".join(f"{SOUND[number].capitalize()}:\n\n{_across(sounds, number)}" for number in SOUND),
        "Controls": _controls(clips, sounds),
        "Left out": left_out(),
    }


def left_out() -> str:
    """Which methods are not run, by the reason."""
    from .contenders import BASELINES, OF_SOUND, OF_VIDEO, why_not  # Loads transformers.

    reasons: dict[str, list[str]] = {}
    run = {name.split(" ")[0] for name in (*BASELINES, *OF_VIDEO, *OF_SOUND)}
    for name in methods():
        if name not in run:
            reasons.setdefault(why_not(name), []).append(name)
    return table(["", "methods"], [[why, ", ".join(names)] for why, names in sorted(reasons.items())])


def _across(results: Results, number: str) -> str:
    """A row per method, a column per ratio: the mean, and the interval of the difference from random."""
    names = dict.fromkeys(name for ratio in reversed(results.ratios) for name in results.names(ratio))
    body = []
    for name in names:
        cells = [_cell(results, ratio, name, number) for ratio in results.ratios]
        if any(cell != NOTHING for cell in cells):
            body.append([name, *cells])
    return table(["", *(f"{float(ratio):.0%}" for ratio in results.ratios)], body)


def _cell(results: Results, ratio: str, name: str, number: str) -> str:
    mean = results.mean(ratio, name, number) if name in results.names(ratio) else None
    if mean is None:
        return NOTHING
    gap = results.against_random(ratio, name, number)
    return f"{mean:.3f}" if name == RANDOM or gap is None else f"{mean:.3f} ({gap.low:+.3f} to {gap.high:+.3f})"


def _shares(results: Results, ratio: str) -> str:
    numbers = {"kept": "of all", **SHARES}
    body = []
    for name in results.names(ratio):
        means = [results.mean(ratio, name, number) for number in numbers]
        if None not in means:
            body.append([name, *(f"{mean:.1%}" for mean in means)])
    return table(["", *numbers.values()], body)


def _controls(clips: Results, sounds: Results) -> str:
    names = clips.names("1")
    heads = ["", CLIP["cer"], SOUND["similarity"], SOUND["right"]]
    asked = ((clips, "cer"), (sounds, "similarity"), (sounds, "right"))
    return table(heads, [[name, *(f"{one.mean('1', name, number):.3f}" for one, number in asked)] for name in names])


if __name__ == "__main__":
    print("\n\n".join(f"### {heading}\n{text}" for heading, text in tables().items()))
