"""The command `serving`: what stays of a schedule's gain when an engine serves several requests at once."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.console import Console

from benchmarks import machine
from benchmarks.idle import busy
from benchmarks.results import RESULTS, append, into
from benchmarks.serving_rounds import Asked, Round
from benchmarks.timing import spread

SERVING = RESULTS / "serving.jsonl"
CONCURRENCY = (1, 2, 4, 8)


def serving(
    concurrency: Annotated[list[int] | None, typer.Option(help="requests at once; 1, 2, 4, 8 by default")] = None,
    requests: Annotated[int, typer.Option(help="of a round")] = 8,
    seconds: Annotated[int, typer.Option(help="of a clip, at 2 frames a second, with its sound")] = 16,
    side: Annotated[int, typer.Option(help="pixels of a frame's side")] = 168,
    tokens: Annotated[int, typer.Option(help="of an answer")] = 16,
    video: Annotated[float, typer.Option(help="share of video tokens that stays")] = 0.1,
    audio: Annotated[float, typer.Option(help="share of audio tokens that stays")] = 0.35,
    model: Annotated[Path | None, typer.Option(help="folder of a Qwen2.5-Omni; else random weights")] = None,
    width: Annotated[int, typer.Option(help="of the decoder with random weights")] = 512,
    layers: Annotated[int, typer.Option(help="of the decoder with random weights")] = 6,
    repeats: Annotated[int, typer.Option(min=1, help="rounds of every side")] = 3,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "",
    output: Annotated[Path, typer.Option(help="JSON lines are appended here")] = SERVING,
) -> None:
    """Tokens a second and time to the first token in vLLM, pruned and not, with one request at once and several."""
    if importlib.util.find_spec("vllm") is None:
        raise RuntimeError("vllm: expected an environment that has it, as `make test-vllm` makes one, got none")
    numbers = concurrency or CONCURRENCY
    asked = Asked(requests, seconds, side, tokens)
    asked.check(numbers, None if model else width)
    from benchmarks.serving_engine import Engines, random_checkpoint  # Loads vLLM.

    place = machine.place(device)
    what = {"model": model} if model else {"width": width, "layers": layers}
    clip = {"requests": requests, "seconds": seconds, "side": side, "tokens": tokens, "video": video, "audio": audio}
    options = {**clip, **what, "repeats": repeats, "device": machine.named(place)}
    with TemporaryDirectory() as folder:
        os.environ.setdefault("VLLM_CACHE_ROOT", f"{folder}/cache")
        checkpoint = model or random_checkpoint(Path(folder) / "model", width, layers)
        with Engines(checkpoint, {"video": video, "audio": audio}, asked, place, random=model is None) as engines:
            context = {**machine.describe(place), **busy(place), "load": os.getloadavg(), **engines.describe()}
            context["versions"] |= {"vllm": engines.version}
            for number in numbers:
                row = {
                    "again": again(number, options) + into(output, SERVING),
                    "clock": "process time" if place.type == "cpu" else "wall",
                    **summary(number, engines.rounds(number, repeats), engines.parts(number), asked),
                }
                append(output, {**context, **row})
                Console().print(told(row, place.type == "cpu"), soft_wrap=True)


def again(number: int, options: Mapping[str, Any]) -> str:
    """The command that gives one row."""
    given = " ".join(f"--{name} {value}" for name, value in options.items())
    return f"python -m benchmarks serving --concurrency {number} {given}"


def summary(
    number: int, rounds: Mapping[str, Sequence[Round]], parts: Mapping[str, Mapping[str, float]], asked: Asked
) -> dict[str, Any]:
    """A row.

    Args:
        number: requests at once.
        rounds: of "pruned" and "unpruned".
        parts: share of a round by what is done in it, of the same.
        asked: of every round.
    """
    row: dict[str, Any] = {
        "name": f"serving/{number}",
        "concurrency": number,
        "requests": asked.requests,
        "new_tokens": asked.tokens,
        "repeats": len(rounds["pruned"]),
    }
    for suffix, name in (("", "pruned"), ("_unpruned", "unpruned")):
        side = rounds[name]
        row[f"prompt_tokens{suffix}"] = side[0].prompt_tokens
        row[f"seconds{suffix}"] = spread([one.seconds for one in side])
        row[f"seconds_to_first_token{suffix}"] = spread([each for one in side for each in one.first_tokens])
        row[f"seconds_preparing{suffix}"] = median(one.preparing for one in side)
        row[f"tokens_per_second{suffix}"] = asked.requests * asked.tokens / row[f"seconds{suffix}"]["median"]
        row[f"parts{suffix}"] = dict(parts[name])
    row["speedup"] = row["tokens_per_second"] / row["tokens_per_second_unpruned"]
    first = (row[f"seconds_to_first_token{suffix}"]["median"] for suffix in ("_unpruned", ""))
    row["speedup_first_token"] = next(first) / next(first)
    return row


def told(row: Mapping[str, Any], ratios_only: bool) -> str:
    """A line for the terminal. What one thread of a CPU does in a second is nobody's result, ratios may be."""
    said = f"{row['name']}: prompts {row['prompt_tokens_unpruned']} -> {row['prompt_tokens']}"
    said += f", tokens a second {row['speedup']:.2f}x, first token {row['speedup_first_token']:.2f}x sooner"
    if not ratios_only:
        pairs = {"tokens a second": "tokens_per_second", "s to the first": "seconds_to_first_token"}
        for unit, name in pairs.items():
            before, after = (row[f"{name}{suffix}"] for suffix in ("_unpruned", ""))
            before, after = (x["median"] if isinstance(x, dict) else x for x in (before, after))
            said += f", {before:.4g} -> {after:.4g} {unit}"
    shares = [f"{part} {row['parts_unpruned'][part]:.0%} -> {share:.0%}" for part, share in row["parts"].items()]
    return f"{said}; {', '.join(shares)}" if shares else said
