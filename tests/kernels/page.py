"""The tables of docs/kernels.md that are made of recorded files: `python -m tests.kernels.page` prints them."""

from __future__ import annotations

from seats_ops.testing.aot import TARGETS
from tests.kernels.snapshot import FOLDER, VERSIONS, Entries, recorded

SHOWN = "3.7.1"
ROWS = {
    "row sums, bf16, D = 80": "row_logsumexp_bf16_d80",
    "column sums, bf16, D = 80": "column_sum_bf16_d80",
    "column sums, float32, D = 128": "column_sum_fp32_d128",
    "gram, bf16": "gram_bf16",
    "gram, float32": "gram_fp32",
    "greedy, windows of up to 512": "greedy_512",
    "query logits, bf16, D = 128": "query_logits_bf16_d128",
    "window_budget, up to 64 windows": "window_budget_64_fp32",
    "segment_topk, float32": "segment_topk_fp32",
    "gather, 64 bit, wide": "gather_64bit_wide",
}


def of_version(version: str) -> Entries:
    """What was recorded with a version of Triton."""
    return recorded(FOLDER / f"triton-{version}.json")


def resources() -> list[str]:
    """Registers per thread and KiB of shared memory, pointers aligned."""
    entries = of_version(SHOWN)
    lines = [_line("Kernel", *TARGETS), _line(*["---"] * (1 + len(TARGETS)))]
    for title, name in ROWS.items():
        reports = [entries[f"{name}/{target}/aligned"][1] for target in TARGETS]
        lines.append(
            _line(title, *(f"{r.registers}" + f", {r.shared / 1024:.0f} K" * (r.shared >= 512) for r in reports))
        )
    return lines


def versions() -> list[str]:
    """What the variants of every version need at most, on any target."""
    lines = [_line("Triton", "variants", "that spill", "registers, NVIDIA", "registers, AMD", "shared memory, bytes")]
    lines.append(_line(*["---"] * 6))
    for version in VERSIONS:
        entries = of_version(version)
        spilling = sum(report.spills > 0 for _, report in entries.values())
        nvidia, amd = (
            max(report.registers for name, (_, report) in entries.items() if ("/gfx" in name) == is_amd)
            for is_amd in (False, True)
        )
        shared = max(report.shared for _, report in entries.values())
        lines.append(_line(version, f"{len(entries):,}", spilling, nvidia, amd, f"{shared:,}"))
    return lines


def _line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    print("\n".join([*resources(), "", *versions()]))
