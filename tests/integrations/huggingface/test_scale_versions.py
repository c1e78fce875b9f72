"""Which versions of transformers the adapters take, and what each of them can do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from packaging.version import Version
from torch import nn
from transformers import DynamicCache

import seats_ops.integrations
from seats_ops import UnsupportedModelState
from seats_ops.floors import FLOORS
from seats_ops.integrations import attach
from seats_ops.integrations.huggingface import compat
from seats_ops.integrations.huggingface.guards import versions
from seats_ops.integrations.huggingface.guards.versions import (
    FLOOR,
    NEWEST_TESTED,
    check_transformers,
    newer_than_tested,
)
from tests.integrations.huggingface import probes
from tests.integrations.huggingface.families.families import SMALL
from tests.integrations.huggingface.prompts import Text, Video, build_prompt, stills
from tests.integrations.huggingface.schedules import small_preset
from tests.integrations.huggingface.upstream import CACHE
from tests.integrations.huggingface.version_records import runs

ROOT = Path(__file__).parents[3]
INSTALLED = Version(transformers.__version__)
# What the adapters name, and the version that brought it.
BROUGHT = {
    "checkpointing": "5.23",
    "copies of media": "5.18",
    "copies of several media": "5.20",
    "columns per row": "5.21",
    "mm_encoder_outputs": "5.18",
    "cache": "5.24",
}


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_the_floor_is_that_of_the_package() -> None:
    assert f'\nhf = ["transformers>={FLOOR}"]\n' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.partition(";")[0].strip().split("==") for line in lines if "==" in line)


def test_the_oldest_and_the_newest_are_what_the_slices_install() -> None:
    oldest, newest = pins("requirements-floor.txt"), pins("requirements-newest.txt")
    for name, floor in {**FLOORS, "transformers": FLOOR}.items():
        assert Version(oldest[name]).release[:2] == Version(floor).release[:2], name
    assert Version(newest["transformers"]).release[:2] == Version(NEWEST_TESTED).release[:2]


@pytest.mark.parametrize("name", ["requirements-floor.txt", "constraints.txt", "requirements-newest.txt"])
def test_every_version_of_ci_was_tested_whole(name: str) -> None:
    """And nothing failed; the support page shows when."""
    of_it = [
        run for run in runs() if run.transformers == pins(name)["transformers"] and run.tests == "tests/integrations"
    ]
    assert of_it and all(run.failed == run.errors == 0 < run.passed for run in of_it)


@pytest.mark.parametrize("version", ["5.17.0", "5.17.3", "5.24.0", "5.25.0.dev0", "6.0.0"])
def test_taken(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(transformers, "__version__", version)
    check_transformers()


@pytest.mark.parametrize("version", ["4.57.1", "5.16.4", "5.17.0.dev0"])
@pytest.mark.parametrize("name", [name for name in seats_ops.integrations.__all__ if name != "Pruning"])
def test_below_the_floor(monkeypatch: pytest.MonkeyPatch, version: str, name: str) -> None:
    monkeypatch.setattr(transformers, "__version__", version)
    monkeypatch.delitem(vars(seats_ops.integrations), name, raising=False)
    with pytest.raises(ImportError, match=f"expected a version >={FLOOR}, got {re.escape(version)} "):
        getattr(seats_ops.integrations, name)


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(vars(seats_ops.integrations), "attach", raising=False)
    with pytest.raises(ImportError, match=f"expected a version >={FLOOR}, got none installed"):
        _ = seats_ops.integrations.attach


@pytest.mark.parametrize("installed", ["none", "too old"])
def test_a_decoder_of_ones_own_needs_none(installed: str) -> None:
    fake = {"none": "None", "too old": "types.ModuleType('transformers')"}[installed]
    code = (
        f"import sys, types; sys.modules['transformers'] = fake = {fake}\n"
        "if fake: fake.__version__ = '4.40.0'\n"
        "import torch\n"
        "from seats_ops import ModalityDropper, Schedule, TokenLayout\n"
        "from seats_ops.integrations import Pruning\n"
        "layout = TokenLayout(torch.tensor([0, 1, 1, 0]), torch.arange(4), torch.tensor([0, 4], dtype=torch.int32))\n"
        "with Pruning(Schedule(after_layer={1: ModalityDropper()}), layout) as pruning:\n"
        "    pruning.before_llm(torch.ones(4, 8))\n"
        "    (hidden,) = pruning.after_layer(1, torch.ones(4, 8))\n"
        "print(len(hidden), [name for name in sys.modules if name.startswith('transformers.')])\n"
        "from seats_ops.integrations import attach\n"
    )
    result = run_python(code)
    assert result.stdout == "2 []\n", result.stderr
    got = {"none": "none installed", "too old": "4.40.0"}[installed]
    assert f"ImportError: transformers: expected a version >={FLOOR}, got {got} " in result.stderr


def test_a_newer_version_without_something_that_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers, "__version__", "9.9.9")
    monkeypatch.setitem(sys.modules, "seats_ops.integrations.huggingface.scores.saliency", None)
    monkeypatch.delitem(vars(seats_ops.integrations), "set_saliency", raising=False)
    with pytest.raises(ImportError, match=f"^transformers: expected what {NEWEST_TESTED}, .*, got 9.9.9: .*saliency"):
        _ = seats_ops.integrations.set_saliency


def test_a_version_whose_cache_has_a_name_that_nobody_knows() -> None:
    code = (
        "import transformers.masking_utils as masks\n"
        "from seats_ops.integrations.huggingface.guards import versions\n"
        "versions.newer_than_tested = lambda: '9.9.9'\n"
        "masks.create_causal_mask = lambda config, kv_store: None\n"
        "from seats_ops.integrations import attach"
    )
    result = run_python(code)
    expected = f"ImportError: transformers: expected what {NEWEST_TESTED}, the newest tested, has, got 9.9.9: "
    assert expected in result.stderr, result.stderr
    assert result.stderr.endswith("expected an argument cache or past_key_values, got config, kv_store\n")


def test_names_of_the_package() -> None:
    code = (
        "import sys, seats_ops.integrations as package\n"
        "assert 'transformers' not in sys.modules\n"
        "assert set(package.__all__) <= set(dir(package))\n"
        "import seats_ops.integrations.huggingface.attachment\n"
        "names = {}\n"
        "exec('from seats_ops.integrations import *', names)\n"
        "assert all(callable(names[name]) for name in package.__all__), names\n"
        "package.pruning"
    )
    result = run_python(code)
    assert "AttributeError: module 'seats_ops.integrations' has no attribute 'pruning'" in result.stderr, result.stderr


def test_what_the_installed_version_lacks() -> None:
    lacking = {name for name, version in BROUGHT.items() if Version(version) > INSTALLED}
    if "copies of media" in lacking:
        lacking.remove("copies of several media")  # refused already
    assert set(compat.LACKS) - {"past_key_values"} == lacking
    for name in lacking:
        assert compat.LACKS[name] == f"needs transformers {BROUGHT[name]} or newer, got {INSTALLED}"


def test_newer_than_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    newest = Version(NEWEST_TESTED)
    for version, newer in (
        (FLOOR, False),
        (f"{NEWEST_TESTED}.9", False),
        (f"{newest.major}.{newest.minor + 1}.0.dev0", True),
        (f"{newest.major}.{newest.minor + 1}.0", True),
        (f"{newest.major + 1}.0.0", True),
    ):
        monkeypatch.setattr(transformers, "__version__", version)
        assert newer_than_tested() == (version if newer else None)


@pytest.mark.parametrize("family", SMALL)
@torch.no_grad()
def test_both_names_of_the_cache(family: str) -> None:
    """The old one goes on to work where it was renamed; of two, transformers would take the new one."""
    model: nn.Module = SMALL[family]("sdpa")
    prompt = build_prompt(model.config, *stills(model.config, Text(5), Video((4, 4, 6), 1.0), Text(4)))
    logits = []
    schedule = small_preset(model.config, drop_layers=(2, 3, 4), late_layer=6, encoder_ratio_scale=1.7)
    with attach(model, schedule):
        for name in compat.CACHE_NAMES:
            cache = probes.generate(model, prompt, 2).cache
            logits.append(model(input_ids=torch.tensor([[5]]), **{name: cache}).logits)
            given = DynamicCache()
            assert probes.generate(model, prompt, 2, **{name: given}).cache is given
            assert given.get_seq_length() > given.layers[0].keys.shape[-2]
            for call in (model, model.generate):
                with pytest.raises(UnsupportedModelState, match=f"^{name}: expected a DynamicCache"):
                    call(**prompt, **{name: [cache]})
        for name in {"cache", "past_key_values"} - {*compat.CACHE_NAMES}:
            with pytest.raises(UnsupportedModelState, match=f"^{name}: expected None, got DynamicCache, which needs"):
                model(**prompt, **{name: cache})
        if len(compat.CACHE_NAMES) > 1:
            cache, other = (probes.generate(model, prompt, 2).cache for _ in range(2))
            with pytest.raises(UnsupportedModelState, match=r"^past_key_values: expected None beside cache"):
                model(input_ids=torch.tensor([[5]]), cache=cache, past_key_values=other)
    assert compat.CACHE_NAMES[0] == CACHE
    assert all(torch.equal(one, logits[0]) for one in logits)


def test_the_pinned_version_is_tested() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = re.search(r"^transformers==(\S+)$", pins, re.MULTILINE)
    assert pinned is not None
    assert Version(FLOOR) <= Version(pinned[1])
    assert Version(pinned[1]).release[:2] <= Version(versions.NEWEST_TESTED).release[:2]
