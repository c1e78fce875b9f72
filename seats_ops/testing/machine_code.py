"""What compiled kernels say about themselves: registers, spills, matrix instructions, widths of loads."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import triton

AMD_WIDTHS = {"dwordx4": 128, "dwordx3": 96, "dwordx2": 64, "ushort": 16, "sshort": 16, "ubyte": 8, "sbyte": 8}


@dataclass(frozen=True)
class CodeReport:
    """The compiled code of one kernel.

    Attributes:
        registers: per thread; on AMD the vector registers, which include the accumulators.
        shared: bytes of shared memory per program.
        spills: bytes of stack, spilled registers and instructions on local memory; 0 if everything fits.
        matrix: the kind of matrix instruction, "" if there is none: HMMA, HGMMA, UTCHMMA, v_mfma.
        widest_load: bits of the widest load from global memory, copies straight into shared memory included.
        precisions: how dots read float32, as far as it is not IEEE.
    """

    registers: int
    shared: int
    spills: int
    matrix: str
    widest_load: int
    precisions: str


def report_nvidia(asm: Mapping[str, Any], shared: int) -> CodeReport:
    """Report on a cubin, by the disassembler that Triton ships."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(asm["cubin"])
        file.flush()
        sass = _cuobjdump(file.name, "-res-usage", "-sass")
    found = re.search(r"REG:(\d+) STACK:(\d+)", sass)
    if found is None:
        raise RuntimeError(f"cuobjdump: expected a line with REG and STACK, got {sass[:2000]!r}")
    registers, stack = map(int, found.groups())
    spills = stack + len(re.findall(r"\b(?:STL|LDL)\b", sass))
    # The tensor cores of each generation have their own opcode; a shape follows after a dot.
    matrix = re.search(r"\b(UTC[A-Z]*MMA|HGMMA|HMMA)\b", sass)
    loads = re.findall(r"\b(?:LDG|LDGSTS)\.([A-Z0-9.]+)", sass)
    widths = [_sass_width(modifiers.split(".")) for modifiers in loads]
    return CodeReport(
        registers, shared, spills, matrix.group(1) if matrix else "", max(widths, default=0), _precisions(asm)
    )


def _sass_width(modifiers: list[str]) -> int:
    if "256" in modifiers:
        return 256
    if "128" in modifiers:
        return 128
    if "64" in modifiers:
        return 64
    if "U16" in modifiers or "S16" in modifiers:
        return 16
    return 8 if "U8" in modifiers or "S8" in modifiers else 32


def report_amd(asm: Mapping[str, Any], shared: int) -> CodeReport:
    """Report on AMD assembly, which carries its own resource table."""
    text = asm["amdgcn"]
    table = {name: int(value) for name, value in re.findall(r"^[\s-]+\.(\w+):\s+(\d+)$", text, re.MULTILINE)}
    spills = table["vgpr_spill_count"] + table["sgpr_spill_count"] + table["private_segment_fixed_size"]
    loads = set(re.findall(r"\b(?:global|buffer|flat)_load_([a-z0-9]+)", text))
    widths = [AMD_WIDTHS.get(load, 32) for load in loads]
    return CodeReport(
        table["vgpr_count"],
        shared,
        spills,
        "v_mfma" if "v_mfma" in text else "",
        max(widths, default=0),
        _precisions(asm),
    )


def _precisions(asm: Mapping[str, Any]) -> str:
    return ",".join(sorted(set(re.findall(r"inputPrecision = (\w+)", asm["ttir"]))))


def _cuobjdump(path: str, *options: str) -> str:
    command = [triton.knobs.nvidia.cuobjdump.path, *options, path]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
