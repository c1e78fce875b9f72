"""The files a demo leaves behind: a picture and a trace per schedule, and one report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from seats_ops import PruneTrace
from seats_ops.cost.decoder_sizes import decoder_sizes
from seats_ops.inspector import Media
from seats_ops.trace.retention import mean_asked_of, mean_retention

from .clip import Clip
from .environment import environment
from .inputs import merged_grid
from .picture import draw
from .run import Run, layer_medians, slug
from .screen import answer_of
from .survivors import late_drop_layer, survivors
from .tables import saved

CREDIT = "Big Buck Bunny © 2008 Blender Foundation, CC BY 3.0"


def make_folder(folder: Path) -> None:
    """Raise ValueError if there cannot be such a folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--out: expected a folder to write to, got {folder} ({error.strerror})") from error


def write_files(
    folder: Path,
    runs: list[Run],
    *,
    clip: Clip,
    inputs: dict[str, Any],
    config: Any,
    flops: dict[str, list[int]],
    clock: str,
    notes: list[str],
    asked: dict[str, Any],
) -> list[Path]:
    """Write `<run>.html`, `.png` and `.json` (a `PruneTrace`) for every run with a schedule, and `report.json`.

    Args:
        folder: Exists, see `make_folder`.
        runs: Measured.
        clip, inputs, config: What the runs ran on.
        flops: Where -> FLOPs of every run there.
        clock: What the times are: "CPU s" or "s".
        notes: Small print for the pictures.
        asked: What the report says of the prompt.

    Returns:
        The paths written.
    """
    written, shown = [], media_of(clip, inputs, config)
    for number, run in enumerate(runs):
        if run.trace is None:
            continue
        written += [folder / f"{slug(run.name)}.{kind}" for kind in ("html", "png", "json")]
        subtitle = saved(runs, number, flops["here"], clock)
        run.trace.to_html(
            written[-3],
            shown,
            config=config,
            kv_element_bytes=run.kv_bytes // (2 * decoder_sizes(config).kv_width * sum(run.trace.kv_lengths)),
            layer_seconds=[layer_medians(run)],
            layer_clock=f"{run.layer_clock}; median of {len(run.layer_seconds)} prefill(s) run for this alone",
            exist_ok=True,
        )
        _picture(written[-2], run, run.trace, clip, shown, inputs, config, subtitle, notes)
        run.trace.save(written[-1])
    written.append(folder / "report.json")
    report = asked | _report(runs, clip, config, flops, clock)
    written[-1].write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return written


def media_of(clip: Clip, inputs: dict[str, Any], config: Any) -> Media:
    """Frames and spectrogram of the one clip of a prompt."""
    sounds = []
    if clip.sound is not None:
        real = inputs["feature_attention_mask"][0].bool().cpu()
        sounds.append(inputs["input_features"][0, :, real].float().cpu().numpy())
    every = len(clip.frames) // merged_grid(inputs, config)[0]
    return Media(clip.name, [clip.frames[::every]], sounds)


def _picture(
    path: Path,
    run: Run,
    trace: PruneTrace,
    clip: Clip,
    shown: Media,
    inputs: dict[str, Any],
    config: Any,
    subtitle: str,
    notes: list[str],
) -> None:
    grid = merged_grid(inputs, config)
    late = late_drop_layer(trace)
    kept = mean_retention(trace, config.text_config.num_hidden_layers)
    shares = ", ".join(f"{share:.0%} of {name}" for name, share in kept.items())
    legend = "A column shows the first of the two frames that share a token; dropped tokens are pale."
    if late is not None:
        legend += f" After layer {late} no video and no audio token is left."
    draw(
        path,
        survivors(trace, inputs["input_ids"], grid, config),
        shown.frames[0],
        shown.sounds[0] if shown.sounds else None,
        seconds=clip.duration,
        window_seconds=float(config.seconds_per_chunk),
        title=f"{run.name} on {clip.name}: {shares} kept, mean of all layers",
        subtitle=subtitle,
        notes=[legend, *notes],
    )


def _report(runs: list[Run], clip: Clip, config: Any, flops: dict[str, list[int]], clock: str) -> dict[str, Any]:
    layers = config.text_config.num_hidden_layers
    return {
        "environment": environment(),
        "clip": {"name": clip.name, "frames": len(clip.frames), "seconds": clip.duration, "fps": clip.fps},
        "clock": clock,
        "runs": [
            {
                "name": run.name,
                "retention": run.retention and dict(zip(("video", "audio"), run.retention, strict=True)),
                "schedule": None if run.schedule is None else run.schedule.to_dict(),
                "mean_retention": None if run.trace is None else mean_retention(run.trace, layers),
                "mean_asked": None if run.trace is None else mean_asked_of(run.trace, layers),
                "flops": {place: counts[number] for place, counts in flops.items()},
                "kv_bytes": run.kv_bytes,
                "prefill_seconds": run.prefill_seconds,
                "encoder_seconds": run.encoder_seconds,
                "answer": answer_of(run),
                "layer_seconds": run.layer_seconds,
                "layer_clock": run.layer_clock,
                "answer_token_ids": run.answer,
            }
            for number, run in enumerate(runs)
        ],
    }
