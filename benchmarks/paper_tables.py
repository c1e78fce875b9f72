"""The tables of docs/performance.md that come from data sheets: `python -m benchmarks.paper_tables` prints them."""

from __future__ import annotations

from benchmarks import paper_model as model
from benchmarks.report.numbers import table
from seats_ops import Schedule


def tables() -> str:
    """Markdown."""
    names = [gpu.name for gpu in model.GPUS]
    floors = [
        [
            f"`{name}`",
            *(_number(n / 1e6) for n in (work.flops, work.num_bytes)),
            *(_number(1e6 * work.seconds(g)) for g in model.GPUS),
        ]
        for name, work in model.primitives().items()
    ]
    pruned = model.decoder_flops(model.schedule())
    rows: dict[str, list[str]] = {}
    for gpu in model.GPUS:
        floor, launches = model.own_seconds(gpu)
        towers, decoder = model.tower_flops() / gpu.bf16, pruned / gpu.bf16
        milliseconds = {
            "decoder without pruning, ms": model.decoder_flops(Schedule()) / gpu.bf16,
            "decoder at R = 10 %, ms": decoder,
            "both towers, ms": towers,
            "ours, floor, ms": floor,
            f"ours, {model.num_launches()} launches, ms": launches,
        }
        shares = {
            "ours, share of the whole": floor / (towers + decoder + floor),
            "the same, launches exposed": (floor + launches) / (towers + decoder + floor + launches),
            "ours, share of the decoder": floor / (decoder + floor),
        }
        for name, seconds in milliseconds.items():
            rows.setdefault(name, [name]).append(_number(1e3 * seconds))
        for name, share in shares.items():
            rows.setdefault(name, [name]).append(f"{share:.2%}")
    first = table(["Primitive", "MFLOP", "MB", *(f"{name}, µs" for name in names)], floors)
    return first + "\n\n" + table(["Prefill", *names], list(rows.values()))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


if __name__ == "__main__":
    print(tables())
