"""README and docs say nothing that does not run: their Python blocks are executed, their links and tests exist."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from markdown_it import MarkdownIt
from markdown_it.token import Token
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from seats_ops.testing.interpreter import why_not_interpreted
from tests.integrations.huggingface.models import small_thinker
from tests.integrations.huggingface.prompts import Text, Video, build_prompt

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Fences that are shown and not run. Python is always run, so other spellings of it are not on the list.
SHOWN = {"text", "bash", "bibtex", "console"}
# Their scripts are run as files, by tests/docs.
WALK_THROUGHS = ROOT / "docs" / "walkthroughs"


def each(pages: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.relative_to(ROOT).as_posix())


pages = each(PAGES)


def tokens_of(page: Path) -> list[Token]:
    """Every token of a page, inline ones included."""
    blocks = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    return [token for block in blocks for token in (block, *(block.children or ()))]


def targets_of(page: Path) -> list[tuple[str, str]]:
    """(text, target) of every link and picture that stays in the repository; anchors are cut off."""
    found = []
    # A link ends with a token of its own, so none is the last.
    for token, following in pairwise(tokens_of(page)):
        target = str(token.attrGet({"link_open": "href", "image": "src"}.get(token.type, "")) or "")
        if target and "://" not in target and not target.startswith("#"):
            found.append((following.content, target.partition("#")[0]))
    return found


@pytest.fixture(scope="session")
def placeholders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the README leaves to its reader: a checkpoint with the 28 layers of the 7B, and a processed prompt."""
    model = small_thinker(text={"num_hidden_layers": 28})
    folder = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(folder)
    inputs = build_prompt(model.config, Text(9), Video((4, 4, 6), 1.0, mel_frames=430), Text(7))
    return {"checkpoint": str(folder), "inputs": inputs}


@each([page for page in PAGES if page.parent != WALK_THROUGHS])
def test_examples_run(page: Path, placeholders: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page share a namespace and start at the root of a checkout."""
    monkeypatch.chdir(ROOT)
    document = Sybil([PythonCodeBlockParser()]).parse(page)
    if page.name == "README.md":
        document.namespace.update(placeholders)
    grad_enabled = torch.is_grad_enabled()
    try:
        for example in document.examples():
            example.evaluate()
    finally:
        torch.set_grad_enabled(grad_enabled)


@pytest.mark.skipif(why_not_interpreted() is not None, reason=str(why_not_interpreted()))
def test_the_kernel_of_the_testing_kit_runs_in_the_interpreter() -> None:
    """Its page leaves these examples out unless Triton saw the variable before it was imported."""
    test = f"{Path(__file__).relative_to(ROOT)}::test_examples_run[docs/testing_kit.md]"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0 and "1 passed" in run.stdout, f"{run.stdout}\n{run.stderr}"


@pages
def test_every_fence_is_run_or_meant_for_reading(page: Path) -> None:
    fences = [token.info.strip() for token in tokens_of(page) if token.type in ("fence", "code_block")]
    assert set(fences) <= {"python", *SHOWN}
    python = sum(info == "python" for info in fences)
    run = {region.start for region in Sybil([PythonCodeBlockParser()]).parse(page).examples()}
    assert len(run) >= python


@pages
def test_links_lead_somewhere(page: Path) -> None:
    missing = [target for _, target in targets_of(page) if not (page.parent / target).exists()]
    assert missing == []


@pages
def test_tests_that_are_named_exist(page: Path) -> None:
    for text, target in targets_of(page):
        if target.endswith(".py") and text.startswith("test_") and not text.endswith(".py"):
            tree = ast.parse((page.parent / target).read_text(encoding="utf-8"))
            assert text in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, target


def test_every_operator_and_primitive_has_a_page() -> None:
    primitives = {path.parent.name for path in (ROOT / "seats_ops" / "ops").glob("*/api.py")}
    operators = {"diversity_selector", "window_budget_allocator", "stage_pruner", "modality_dropper"}
    found = [path for folder in ("operators", "ops") for path in (ROOT / "docs" / folder).glob("*.md")]
    assert sorted(path.stem for path in found) == sorted(primitives | operators)
    readme = {target for _, target in targets_of(ROOT / "README.md")}
    assert {path.relative_to(ROOT).as_posix() for path in found} <= readme
    pages = [page for folder in ("operators", "ops") for page in (ROOT / "docs" / folder).glob("*.md")]
    assert sorted(page.stem for page in pages) == sorted(primitives | operators)
    readme = {target for _, target in targets_of(ROOT / "README.md")}
    assert {page.relative_to(ROOT).as_posix() for page in pages} <= readme
    pages = [path for folder in ("operators", "ops") for path in (ROOT / "docs" / folder).glob("*.md")]
    assert sorted(path.stem for path in pages) == sorted(primitives | operators)
    readme = {target for _, target in targets_of(ROOT / "README.md")}
    assert {path.relative_to(ROOT).as_posix() for path in pages} <= readme
