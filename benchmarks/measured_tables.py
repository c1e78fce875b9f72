"""The tables of docs that come from measurements: `python -m benchmarks.measured_tables` prints them."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.entry import OURS
from benchmarks.report.longer import decode, growth, serving
from benchmarks.report.numbers import table
from benchmarks.report.sent_in import sent_in
from benchmarks.results import RESULTS

MIB = 2**20
# Whose rows the page shows; those of other machines and sizes lie in the same files.
MACHINE = "AMD EPYC"


def tables() -> dict[str, str]:
    """Markdown by heading of docs/performance.md, from the latest row of every name, and of every width of a model."""
    return {
        "Stages": _stages(_rows("primitives.jsonl")),
        "Whole prefill": _prefills(_rows("prefill.jsonl")),
        "Where the time goes": _breakdown(_rows("prefill.jsonl")),
        "Growth": growth(_rows("growth.jsonl")),
        "Decode": decode(_rows("decode.jsonl")),
        "Sent in": sent_in(),
    }


def in_vllm() -> str:
    """The table of docs/vllm.md."""
    return serving(_rows("serving.jsonl"))


def _rows(name: str) -> list[dict[str, Any]]:
    lines = (RESULTS / name).read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["device"] == MACHINE and row.get("size", "paper") == "paper"]
    rows = [row for row in rows if row.get("tests", "green") == "green"]
    found = {(row["name"], row.get("width")): row for row in rows}
    return [row for _, row in sorted(found.items(), key=lambda item: (item[0][1] or 0, item[0][0]))]


def _stages(rows: list[dict[str, Any]]) -> str:
    body = []
    for row in rows:
        ours = row["sides"][OURS]
        for name, side in row["sides"].items():
            if name != OURS:
                times = f"{side['median'] / ours['median']:.2f}"
                memory = f"{ours['peak_bytes'] / MIB:.1f} of {side['peak_bytes'] / MIB:.1f}"
                asked = [f"{ours[kind]} of {side[kind]}" for kind in ("launches", "host_reads")]
                body.append([f"`{row['name']}`", f"{1e3 * ours['median']:.2f}", name, times, memory, *asked])
    heads = ["Entry", "ours, ms", "beside", "takes times as long", "peak memory, MiB", "launches", "host reads"]
    return table(heads, body)


def _prefills(rows: list[dict[str, Any]]) -> str:
    head = [
        *("Width", "R", "seconds", "speed-up", "of executed FLOPs", "of the paper's", "both, towers fixed"),
        *("ours, of all", "ours, of the decoder", "largest drop, of its layer", "KV"),
    ]
    body = [
        [
            *_place(row),
            f"{row['seconds_unpruned']['median']:.2f} -> {row['seconds']['median']:.2f}",
            f"{row['speedup']:.2f}",
            f"{row['realised_of_executed']:.0%}",
            f"{row['realised_of_paper']:.0%}",
            f"{row['realised_of_executed_fixed_towers']:.0%}, {row['realised_of_paper_fixed_towers']:.0%}",
            f"{row['own_share_of_prefill']:.2%}",
            f"{row['own_share_of_decoder']:.1%}",
            f"{max(row['drop_share_of_layer_before'].values()):.1%}",
            f"{row['kv_bytes'] / row['kv_bytes_unpruned']:.1%}",
        ]
        for row in _by_width(rows)
    ]
    return table(head, body)


def _breakdown(rows: list[dict[str, Any]]) -> str:
    head = [
        *("Width", "R", "layers, s", "GFLOP/s in them", "saliency, ms", "layout and Stage I, ms", "drops, ms"),
        *("cache and hooks, ms", "rest, ms"),
    ]
    body = []
    for row in _by_width(rows):
        own = dict(row["own_seconds"])
        saliency, stage_one = own.pop("saliency"), own.pop("layout and Stage I")
        drops = [own.pop(name) for name in list(own) if name.startswith("drop ")]
        rest = row["seconds"]["median"] - row["seconds_layers"] - sum(row["own_seconds"].values())
        layers = [row[f"seconds_layers{side}"] for side in ("_unpruned", "")]
        flops = [row[f"flops_executed{side}"] for side in ("_unpruned", "")]
        rates = [count / seconds / 1e9 for count, seconds in zip(flops, layers, strict=True)]
        parts = (saliency, stage_one, sum(drops), sum(own.values()), rest)
        pairs = (f"{layers[0]:.2f} -> {layers[1]:.2f}", f"{rates[0]:.0f} -> {rates[1]:.0f}")
        body.append([*_place(row), *pairs, *(f"{1e3 * part:.0f}" for part in parts)])
    return table(head, body)


def _by_width(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["width"], -int(row["name"].split("/")[1])))


def _place(row: dict[str, Any]) -> list[str]:
    return [str(row["width"]), f"{row['name'].split('/')[1]} %"]


if __name__ == "__main__":
    print("\n\n".join(f"### {heading}\n{text}" for heading, text in [*tables().items(), ("In vLLM", in_vllm())]))
