"""Commands that run a whole model, with and without pruning: `prefill` and `decode`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from benchmarks import machine
from benchmarks.ceilings import ceilings
from benchmarks.gate import require_green, say
from benchmarks.idle import busy
from benchmarks.primitives import known
from benchmarks.results import RESULTS, append, into

PREFILL, DECODE = RESULTS / "prefill.jsonl", RESULTS / "decode.jsonl"
TESTS = (
    "tests/ops",
    "tests/integrations/huggingface/test_golden_end_to_end.py",
    "tests/integrations/huggingface/test_cost_against_trace.py",
)

console = Console()


def prefill(
    width: Annotated[int, typer.Option(help="of the decoder; 28 layers as in the 7B")] = 512,
    seconds: Annotated[int, typer.Option(help="of the clip, 194 tokens each")] = 24,
    text: Annotated[int, typer.Option(min=60, help="tokens of text around the clip")] = 200,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "",
    repeats: Annotated[int, typer.Option(min=1)] = 5,
    retention: Annotated[list[int] | None, typer.Option(help="percent, of the paper's table; all by default")] = None,
    output: Annotated[Path, typer.Option(help="JSON lines are appended here")] = PREFILL,
) -> None:
    """Whole prefills at the paper's retention ratios, beside the model without pruning."""
    from benchmarks.whole_prefill import compare  # Loads transformers.
    from seats_ops.cli.run import PAPER_RATIOS

    known(map(str, retention or []), list(map(str, PAPER_RATIOS)), "--retention")
    place = machine.place(device)
    context = {
        **machine.describe(place),
        **busy(place),
        "ceilings": ceilings(place),
        "tests": require_green(TESTS, place.type),
    }
    say(context["tests"])
    heads = (
        "R",
        "speed-up",
        "FLOPs executed",
        "realised",
        "FLOPs, paper",
        "realised",
        "towers fixed",
        "ours of all",
        "of decoder",
        "KV",
    )
    table = Table(*(Column(head, min_width=6) for head in heads), padding=0)
    for row in compare(width, seconds, text, place, repeats, retention or ()):
        row["again"] += into(output, PREFILL)
        append(output, {**context, **row})
        table.add_row(
            row["name"].removeprefix("prefill/") + " %",
            f"{row['speedup']:.2f}x",
            f"{row['flops_reduction_executed']:.2f}x",
            f"{row['realised_of_executed']:.0%}",
            f"{row['flops_reduction_paper']:.2f}x",
            f"{row['realised_of_paper']:.0%}",
            f"{row['realised_of_executed_fixed_towers']:.0%}, {row['realised_of_paper_fixed_towers']:.0%}",
            *(f"{row[f'own_share_of_{part}']:.2%}" for part in ("prefill", "decoder")),
            f"{row['kv_bytes'] / row['kv_bytes_unpruned']:.1%}",
        )
    console.print(table)


def decode(
    width: Annotated[int, typer.Option(help="of the decoder; 28 layers as in the 7B")] = 512,
    seconds: Annotated[int, typer.Option(help="of the clip, 194 tokens each")] = 24,
    retention: Annotated[int, typer.Option(help="percent, of the paper's table")] = 10,
    tokens: Annotated[int, typer.Option(min=3, help="to generate")] = 33,
    repeats: Annotated[int, typer.Option(min=1)] = 5,
    side: Annotated[list[str] | None, typer.Option(help="unpruned, uniform, per-layer; all by default")] = None,
    output: Annotated[Path, typer.Option(help="JSON lines are appended here")] = DECODE,
) -> None:
    """Time to the first token, speed of decoding and memory: without pruning and with both KV policies. On a CPU."""
    from benchmarks import decode as decoding  # Loads transformers.
    from seats_ops.cli.run import PAPER_RATIOS

    known([str(retention)], list(map(str, PAPER_RATIOS)), "--retention")
    known(side or [], decoding.SIDES, "--side")
    place = machine.place("cpu")
    context = {**machine.describe(place), "tests": require_green(TESTS, place.type)}
    say(context["tests"])
    table = Table("side", "first token", "per token", "KV", "peak over the loaded model", "left after")
    for row in decoding.compare(width, seconds, retention, tokens, repeats, side or decoding.SIDES):
        row["again"] += into(output, DECODE)
        append(output, {**context, **row})
        table.add_row(
            row["name"].removeprefix("decode/"),
            f"{row['seconds_to_first_token']['median']:.2f} s",
            f"{row['seconds_per_token']['median'] * 1e3:.1f} ms",
            *(
                f"{size / 2**20:.1f} MiB"
                for size in (
                    row["kv_bytes"],
                    row["rss_peak"] - row["rss_loaded"],
                    row["rss_with_cache"] - row["rss_loaded"],
                )
            ),
        )
    console.print(table)
