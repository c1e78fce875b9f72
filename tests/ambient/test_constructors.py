"""Every tensor says where it lives and what it holds: defaults of the process reach none of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch.utils._device import _device_constructors

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for room in ("seats_ops", "integrations") for path in (ROOT / room).rglob("*.py"))
# What `torch.set_default_device` sends elsewhere, as torch itself lists it. `x.new_zeros`, `zeros_like` and their kind
# take after a tensor.
CONSTRUCTORS = {function.__name__ for function in _device_constructors()} | {"normal", "Tensor"}
NEVER = {
    "get_default_dtype",
    "set_default_dtype",
    "get_default_device",
    "set_default_device",
    "set_default_tensor_type",
}
NEVER |= {f"{kind}Tensor" for kind in ("Float", "Double", "Half", "BFloat16", "Byte", "Char", "Short", "Int", "Long")}
NAMED = {"device", "dtype"}
# A model that is built on the default dtype itself is refused under some. The tiny one of a probe is built and run on
# defaults of its own, and those of the process are put back.
ASKED = {
    "integrations/huggingface/guards/refusals.py": {"get_default_dtype"},
    "integrations/huggingface/guards/newer_version.py": {
        "get_default_dtype",
        "set_default_dtype",
        "get_default_device",
    },
}


def offences(source: str) -> Iterator[tuple[int, str]]:
    """(line, name) of every constructor of torch that leaves its device or its dtype open."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    parents = {child: node for node in nodes for child in ast.iter_child_nodes(node)}
    imported = {
        alias.asname or alias.name: alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module == "torch"
        for alias in node.names
    }
    places = {target.id for node in nodes for target in _assigned(node) if _keys(node.value) >= NAMED}
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
            name = node.attr
        elif isinstance(node, ast.Name) and node.id in imported:
            name = imported[node.id]
        else:
            continue
        call = parents[node]
        if name in NEVER:
            yield node.lineno, name
        # Called itself, or handed to `functools.partial`; a type is also named to be compared with.
        elif name in CONSTRUCTORS and isinstance(call, ast.Call) and (name != "Tensor" or call.func is node):
            given = {keyword.arg for keyword in call.keywords}
            shared = any(
                k.arg is None and isinstance(k.value, ast.Name) and k.value.id in places for k in call.keywords
            )
            if not given >= NAMED and not shared:
                yield node.lineno, name


def _assigned(node: ast.AST) -> list[ast.Name]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target for target in targets if isinstance(target, ast.Name)]


def _keys(value: ast.expr | None) -> set[str]:
    keys = value.keys if isinstance(value, ast.Dict) else []
    return {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
def test_constructors_name_device_and_dtype(path: Path) -> None:
    asked = ASKED.get(str(path.relative_to(ROOT)), set())
    assert [name for _, name in offences(path.read_text()) if name not in asked] == []


@pytest.mark.parametrize(
    "line",
    [
        "torch.zeros(3)",
        "torch.arange(3, device=x.device)",
        "torch.tensor([1.0], dtype=x.dtype)",
        "torch.full((2,), -1, device='cpu')",
        "functools.partial(torch.empty, device='cpu')",
        "torch.zeros(3, **place)",
        "torch.Tensor(3)",
        "torch.FloatTensor([1])",
        "x.to(torch.get_default_dtype())",
        "from torch import ones\nones(3)",
    ],
)
def test_what_leaves_one_open_is_seen(line: str) -> None:
    assert len(list(offences(line))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "torch.zeros(3, dtype=torch.int64, device='cpu')",
        "torch.zeros_like(x) + x.new_ones(3) + torch.cat([x, x])",
        "PLACE = {'dtype': torch.int64, 'device': 'cpu'}\ntorch.tensor([1], **PLACE)",
        "from torch import Tensor\nisinstance(x, Tensor) and tree_map_only(Tensor, f, x)",
    ],
)
def test_what_names_both_is_not(line: str) -> None:
    assert not list(offences(line))
