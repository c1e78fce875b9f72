"""Every shipped kernel compiled for GPUs that are not here: no spills, matrix instructions, wide loads.

The numbers lie in `snapshots/`, one file per Triton version; `make kernels-aot` compiles what has changed and rewrites
the file, `make kernels-nightly TRITONS=3.9.0` that of another version, and the change is reviewed like code.
"""

from __future__ import annotations

import os

import pytest

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter compiles nothing", allow_module_level=True)

from seats_ops.ops.tiles import OVERRIDES
from seats_ops.testing.aot import SHARED_LIMIT, TARGETS, compile_variant, problems
from seats_ops.testing.shipped import shipped_configs
from tests.kernels.snapshot import FOLDER, VERSIONS, all_variants, recorded

VARIANTS = all_variants()
FIRST_OF_KERNEL = {config.kernel.fn.__name__: config.name for config in reversed(shipped_configs())}
# Each kernel on two of the seven targets, each target with about as many kernels: `make kernels-nightly` does all.
SAMPLE = [
    f"{name}/{target}/aligned"
    for place, (_, name) in enumerate(sorted(FIRST_OF_KERNEL.items()))
    for target in sorted(list(TARGETS)[(place + step) % len(TARGETS)] for step in (0, 3))
]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_snapshot_covers_what_is_shipped(version: str) -> None:
    entries, make = recorded(FOLDER / f"triton-{version}.json"), f"run `make kernels-nightly TRITONS={version}`"
    assert entries.keys() == VARIANTS.keys(), make
    stale = [name for name in entries if entries[name][0] != VARIANTS[name].key(version)]
    assert not stale, f"{len(stale)} kernels changed since they were compiled, {make}: {stale[:4]}"


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_code_has_no_problem(version: str) -> None:
    entries = recorded(FOLDER / f"triton-{version}.json")
    found = [problem for name, (_, report) in entries.items() for problem in problems(VARIANTS[name], report)]
    assert not found, "\n".join(found)


def test_every_target_has_a_place_in_the_launch_table() -> None:
    assert TARGETS.keys() == SHARED_LIMIT.keys() == OVERRIDES.keys()


def test_no_version_is_left_behind() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == {f"triton-{version}" for version in VERSIONS}


def test_the_sample_meets_every_kernel_and_target() -> None:
    met = [name.split("/") for name in SAMPLE]
    assert {kernel for kernel, *_ in met} == set(FIRST_OF_KERNEL.values())
    numbers = [sum(target == each for _, target, _ in met) for each in TARGETS]
    assert len(SAMPLE) == 2 * len(FIRST_OF_KERNEL) and max(numbers) - min(numbers) <= 1


@pytest.mark.parametrize("name", SAMPLE)
def test_compiling_again_gives_the_recorded_code(name: str) -> None:
    assert compile_variant(VARIANTS[name]) == recorded()[name][1]
