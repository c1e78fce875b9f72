"""Compile Triton kernels for GPUs that are not there, and read from the code what they would need.

Works in a process where TRITON_INTERPRET is not set, with the assembler and its tools that Triton brings along.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from seats_ops.ops.launch import KernelConfig
from seats_ops.ops.tile_tables import table_of
from seats_ops.ops.tiles import Table
from seats_ops.testing.kernel_source import source_hash
from seats_ops.testing.machine_code import CodeReport, report_amd, report_nvidia

TARGETS: dict[str, GPUTarget] = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_86": GPUTarget("cuda", 86, 32),
    "sm_89": GPUTarget("cuda", 89, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "sm_120": GPUTarget("cuda", 120, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}

KIB = 1024
SHARED_LIMIT = {
    "sm_80": 163 * KIB,
    "sm_86": 99 * KIB,
    "sm_89": 99 * KIB,
    "sm_90": 227 * KIB,
    "sm_100": 227 * KIB,
    "sm_120": 99 * KIB,
    "gfx942": 64 * KIB,
}
"""Bytes of shared memory one program may use: "Maximum amount of shared memory per thread block" in the table of
technical specifications per compute capability of the CUDA C++ Programming Guide; the LDS of a CDNA3 compute unit."""


@dataclass(frozen=True)
class Variant:
    """One way a kernel may be compiled.

    Attributes:
        config: the shipped configuration.
        target: a key of `TARGETS`.
        aligned: whether pointers and sizes are promised to be multiples of 16, as a launch promises it where it holds.
    """

    config: KernelConfig
    target: str
    aligned: bool

    @property
    def name(self) -> str:
        return f"{self.config.name}/{self.target}/{'aligned' if self.aligned else 'unaligned'}"

    def source(self) -> ASTSource:
        """What goes into Triton's compiler."""
        kernel, config = self.config.kernel, self.config
        signature = {name: config.signature.get(name, "constexpr") for name in kernel.arg_names}
        hints = {}
        for parameter in kernel.params if self.aligned else ():
            kind = signature[parameter.name]
            unspecialized = parameter.do_not_specialize or parameter.do_not_specialize_on_alignment
            if kind.startswith(("*", "i")) and kind != "i1" and not unspecialized:
                hints[(parameter.num,)] = [["tt.divisibility", 16]]
        return ASTSource(kernel, signature, dict(config.constants), hints)

    def options(self) -> dict[str, Any]:
        """The compile options of `seats_ops.ops.launch.launch`."""
        options: dict[str, Any] = {
            "num_warps": self.config.num_warps,
            "num_stages": self.config.num_stages,
            "enable_fp_fusion": False,
        }
        if self.config.max_registers is not None and TARGETS[self.target].backend == "cuda":
            options["maxnreg"] = self.config.max_registers
        return options

    def key(self, version: str = triton.__version__) -> str:
        """Changes with whatever can change the machine code: source, types, constants, hints, options, Triton."""
        source = self.source()
        hints = sorted(parameter for (parameter,) in source.attrs)
        parts = [version, self.target, source_hash(self.config.kernel), source.signature]
        parts += [dict(self.config.constants), hints, self.options()]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def variants(configs: Callable[[Table], tuple[KernelConfig, ...]], targets: Iterable[str] = TARGETS) -> list[Variant]:
    """Every configuration that the table of each target asks for, with and without promises of alignment."""
    return [
        Variant(config, target, aligned)
        for target in targets
        for config in configs(table_of(target))
        for aligned in (True, False)
    ]


def compile_variant(variant: Variant) -> CodeReport:
    """Compile and report. Takes about half a second."""
    compiled = triton.compile(variant.source(), target=TARGETS[variant.target], options=variant.options())
    report = report_amd if variant.target.startswith("gfx") else report_nvidia
    return report(compiled.asm, compiled.metadata.shared)


def problems(variant: Variant, report: CodeReport) -> list[str]:
    """What is wrong with compiled code, in words; empty if nothing is."""
    found = []
    if report.spills:
        found.append(f"spills ({report.spills} bytes of stack or spilled registers)")
    limit = 512 if variant.target.startswith("gfx") else 254
    if report.registers > limit:
        found.append(f"{report.registers} registers, at most {limit} expected")
    if report.shared > SHARED_LIMIT[variant.target]:
        found.append(f"{report.shared} bytes of shared memory, at most {SHARED_LIMIT[variant.target]} expected")
    if "mma" in variant.config.expects and not report.matrix:
        found.append("no matrix instruction")
    # An AMD wave has 64 lanes: a row that gives every NVIDIA lane 128 bits gives it 64.
    width = 64 if variant.target.startswith("gfx") else 128
    if "wide_loads" in variant.config.expects and variant.aligned and report.widest_load < width:
        found.append(f"widest load {report.widest_load} bits, {width} expected")
    if "tf32" in report.precisions:
        found.append(f"a dot reads float32 as {report.precisions}: its input_precision is not pinned")
    return [f"{variant.name}: {problem}" for problem in found]
