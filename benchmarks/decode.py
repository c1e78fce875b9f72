"""Generation with and without pruning: time to the first token, time per further token, memory of the process."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from transformers.generation.streamers import BaseStreamer

from benchmarks.machine import ROOT
from benchmarks.prefill_model import clip_prompt, model_of_width
from benchmarks.timing import spread
from seats_ops import seats
from seats_ops.cli.run import PAPER_RATIOS
from seats_ops.integrations import attach
from seats_ops.integrations.huggingface.compat import cache_of
from seats_ops.measure.prefill import kv_bytes
from seats_ops.measure.stopwatch import now

SIDES = ("unpruned", "uniform", "per-layer")
CPU = torch.device("cpu")


class TokenTimes(BaseStreamer):
    """Clock at every token; the first entry is the prompt's, at the start."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        self.seconds.append(now(CPU))

    def end(self) -> None:
        """Nothing is left to do."""


@torch.no_grad()
def _generate(model: Any, inputs: dict[str, Any], side: str, retention: int, tokens: int) -> list[float]:
    """Seconds at the start and at every token."""
    video, audio = PAPER_RATIOS[retention]
    pruned = side != "unpruned"
    attached: Any = attach(model, seats(model.config, video=video, audio=audio), kv_policy=side) if pruned else None
    times, length = TokenTimes(), {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}
    start = now(CPU)
    with attached or nullcontext():
        model.generate(**inputs, **length, streamer=times)
    return [start, *times.seconds[1:]]


def compare(
    width: int, seconds: int, retention: int, tokens: int, repeats: int, sides: Sequence[str] = SIDES
) -> list[dict[str, Any]]:
    """One row per side. All run once to warm up and take turns in one process; memory is of a process of their own.

    The time to the first token includes the towers and everything `generate` does.
    """
    model = model_of_width(width, CPU)
    inputs, lengths = clip_prompt(model.config, seconds, CPU)
    times: dict[str, list[list[float]]] = {side: [] for side in sides}
    for turn in range(1 + repeats):
        for side in sides:
            at = _generate(model, inputs, side, retention, tokens if turn else 2)
            if turn:
                times[side].append(at)
    rows = []
    for side, runs in times.items():
        each = [b - a for at in runs for a, b in pairwise(at[1:])]
        rows.append(
            {
                "name": f"decode/{side}",
                "again": again(width, seconds, retention, tokens, repeats, side),
                "clock": "process time",
                "retention": retention,
                "width": width,
                "prompt_tokens": lengths.total,
                "new_tokens": tokens,
                "repeats": repeats,
                "seconds_to_first_token": spread([at[1] - at[0] for at in runs]),
                "seconds_per_token": spread(each),
                "tokens_per_second": 1 / statistics.median(each),
                **_in_own_process(width, seconds, retention, side),
            }
        )
    return rows


def again(width: int, seconds: int, retention: int, tokens: int, repeats: int, side: str) -> str:
    """The command that gives one row."""
    prompt = f"--width {width} --seconds {seconds} --retention {retention}"
    return f"python -m benchmarks decode {prompt} --tokens {tokens} --repeats {repeats} --side {side}"


def _in_own_process(width: int, seconds: int, retention: int, side: str) -> dict[str, int]:
    """`memory` of a fresh process: what a process once held, it never gives back in this figure."""
    arguments = [str(x) for x in (width, seconds, retention, side)]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.decode", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found: dict[str, int] = json.loads(run.stdout.splitlines()[-1])
    return found


@torch.no_grad()
def memory(width: int, seconds: int, retention: int, side: str) -> dict[str, int]:
    """Bytes that the process holds: with the model loaded, at most while it generates one token, with the cache left.

    Linux only.
    """
    torch.set_num_threads(1)
    model = model_of_width(width, CPU)
    inputs, _ = clip_prompt(model.config, seconds, CPU)
    loaded = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # The peak starts anew: loading had its own.
    video, audio = PAPER_RATIOS[retention]
    schedule = seats(model.config, video=video, audio=audio)
    with attach(model, schedule, kv_policy=side) if side != "unpruned" else nullcontext():
        output = model.generate(**inputs, max_new_tokens=1, do_sample=False, return_dict_in_generate=True)
    cache = cache_of(output)
    held = [x for layer in cache.layers for x in (layer.keys, layer.values)]
    return {
        "rss_loaded": loaded,
        "rss_peak": _status("VmHWM"),
        "rss_with_cache": _status("VmRSS"),
        "kv_bytes": kv_bytes(cache),
        "kv_storage_bytes": sum(x.untyped_storage().nbytes() for x in held),
    }


def _status(name: str) -> int:
    """Bytes, from the kernel's account of this process. (getrusage's peak starts at that of the parent process.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


if __name__ == "__main__":
    width, seconds, retention, side = sys.argv[1:]
    print(json.dumps(memory(int(width), int(seconds), int(retention), side)))
