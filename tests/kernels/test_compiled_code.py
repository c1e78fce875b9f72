"""Every shipped kernel compiled for GPUs that are not here: no spills, matrix instructions, wide loads.

The numbers lie in `snapshots/`, one file per Triton version; `make kernels-aot` compiles what has changed and rewrites
the file, and the change is reviewed like code.
"""

from __future__ import annotations

import os
from dataclasses import asdict

import pytest

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

from seats_ops.testing.aot import TARGETS, compile_variant, problems
from seats_ops.testing.machine_code import CodeReport
from tests.kernels.shipped import shipped_configs
from tests.kernels.snapshot import FILE, all_variants, recorded

VARIANTS = all_variants()
FIRST_OF_KERNEL = {config.kernel.fn.__name__: config.name for config in reversed(shipped_configs())}


def test_the_snapshot_covers_what_is_shipped() -> None:
    entries = recorded()
    assert entries, f"{FILE.name} is missing: run `make kernels-aot`"
    assert entries.keys() == VARIANTS.keys(), "run `make kernels-aot`"
    stale = [name for name, variant in VARIANTS.items() if entries[name]["key"] != variant.key()]
    assert not stale, f"{len(stale)} kernels changed since they were compiled, run `make kernels-aot`: {stale[:4]}"


def test_recorded_code_has_no_problem() -> None:
    found = []
    for name, entry in recorded().items():
        numbers = {key: value for key, value in entry.items() if key != "key"}
        found += problems(VARIANTS[name], CodeReport(**numbers))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kernel", sorted(FIRST_OF_KERNEL))
def test_compiling_again_gives_the_recorded_code(kernel: str, target: str) -> None:
    name = f"{FIRST_OF_KERNEL[kernel]}/{target}/aligned"
    fresh = asdict(compile_variant(VARIANTS[name]))
    assert fresh == {key: value for key, value in recorded()[name].items() if key != "key"}
