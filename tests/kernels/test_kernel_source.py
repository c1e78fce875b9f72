"""What counts as another kernel: its code, what it calls and reads, and not where or how it is written."""

from __future__ import annotations

import importlib.util
import os
from itertools import count
from pathlib import Path
from typing import Any

import pytest

if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("the interpreter has no sources", allow_module_level=True)

from seats_ops.testing.kernel_source import source_hash

SOURCE = """
import math
import triton
import triton.language as tl

LIMIT = tl.constexpr(3.0)
OTHER = tl.constexpr(4.0)


@triton.jit
def inner(x):
    return tl.minimum(x, LIMIT)


@triton.jit
def kernel(out, BLOCK: tl.constexpr):
    lane = tl.arange(0, BLOCK)
    tl.store(out + lane, inner(lane * 1.0))
"""
NUMBERS = count()


def hash_of(folder: Path, old: str = "", new: str = "") -> str:
    assert SOURCE.count(old) >= 1
    # Always the same name of the module: a file of its own, as Python and Triton keep what they have read.
    file = folder / f"{next(NUMBERS)}.py"
    file.write_text(SOURCE.replace(old, new, 1))
    spec: Any = importlib.util.spec_from_file_location("planted", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return source_hash(module.kernel)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@triton.jit\ndef kernel", "# What it is for.\n\n\n@triton.jit\ndef kernel"),
        ("    lane = tl", '    """What it does."""\n    lane = tl'),
        ("lane * 1.0", "(lane *\n        1.0)"),
        ("return tl.minimum(x, LIMIT)", "return tl.minimum(x, LIMIT)  # Why."),
        ("OTHER = tl.constexpr(4.0)", "OTHER = tl.constexpr(5.0)"),
    ],
)
def test_the_same_kernel(old: str, new: str, tmp_path: Path) -> None:
    assert hash_of(tmp_path, old, new) == hash_of(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lane * 1.0", "lane * 2.0"),
        ("tl.minimum(x, LIMIT)", "tl.maximum(x, LIMIT)"),
        ("tl.minimum(x, LIMIT)", "tl.minimum(x, OTHER)"),
        ("LIMIT = tl.constexpr(3.0)", "LIMIT = tl.constexpr(3.5)"),
        ("@triton.jit\ndef inner", "@triton.jit(noinline=True)\ndef inner"),
        ("BLOCK: tl.constexpr", "BLOCK"),
    ],
)
def test_another_kernel(old: str, new: str, tmp_path: Path) -> None:
    assert hash_of(tmp_path, old, new) != hash_of(tmp_path)


def test_a_function_that_is_called_through_a_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"math: expected device functions imported by name, got the module math"):
        hash_of(tmp_path, "tl.minimum(x, LIMIT)", "math.min(x, LIMIT)")
