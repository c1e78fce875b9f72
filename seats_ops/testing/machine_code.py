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
        spills: bytes of stack and local memory, on AMD also spilled registers; 0 if everything fits.
        matrix: the kind of matrix instruction, "" if there is none: mma.sync, wgmma.mma_async, tcgen05.mma, v_mfma.
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
    """Report on a cubin, by its resources as Triton's tools read them, and on the PTX that it was assembled from.

    Disassembling says no more about one and takes as long as compiling it: whatever spills has a stack, and the
    assembler neither splits loads nor replaces matrix instructions.
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(asm["cubin"])
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {name: re.search(rf"\b{name}:(\d+)", usage) for name in ("REG", "STACK", "LOCAL")}
    if not all(found.values()):
        raise RuntimeError(f"cuobjdump: expected a line with {', '.join(found)}, got {usage!r}")
    registers, stack, local = (int(match.group(1)) for match in found.values() if match)
    # The matrix units of each generation have an instruction of their own.
    matrix = re.search(r"\b(tcgen05\.mma|wgmma\.mma_async|mma\.sync)", asm["ptx"])
    loads = re.findall(r"\bld\.global[\w.:]*?(?:\.v(\d))?\.[bfsu](\d+)\b", asm["ptx"])
    widths = [int(number or 1) * int(bits) for number, bits in loads]
    # Copies straight into shared memory, in bytes.
    widths += [8 * int(size, 0) for size in re.findall(r"\bcp\.async\.c[ag]\.[^;]*?\], (0x[0-9a-f]+|\d+)", asm["ptx"])]
    return CodeReport(
        registers, shared, stack + local, matrix.group(1) if matrix else "", max(widths, default=0), _precisions(asm)
    )


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
