"""Every method is made of stages that say what they are, and that a process which imported no method can read."""

from __future__ import annotations

import inspect
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.methods.reachable import schedule_of
from tests.methods.table import lines_of_code, own_methods
from tests.own_process import ROOT

# A fork for every file, so that none finds what another one's imports registered.
READER = """
import os, sys, traceback
from pathlib import Path
from seats_ops import Schedule

for path in sorted(Path(sys.argv[1]).iterdir()):
    child = os.fork()
    if child == 0:
        try:
            Schedule.load(path).save(path.with_suffix(".again.json"))
        except Exception as error:
            print(f"{path.name}: {error}", file=sys.stderr, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_every_method_is_read_by_a_fresh_process(tmp_path: Path) -> None:
    methods = own_methods()
    for name, method in methods.items():
        schedule_of(method).save(tmp_path / f"{name}.json")
    result = subprocess.run([sys.executable, "-c", READER, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(methods) > 20
    for name in methods:
        assert (tmp_path / f"{name}.again.json").read_text() == (tmp_path / f"{name}.json").read_text()


def test_scorers_of_all_methods_say_that_they_are() -> None:
    stages = [stage for one in own_methods().values() for _, stage in schedule_of(one).stages()]
    found = [stage.scorer for stage in stages if getattr(stage, "scorer", None) is not None]
    assert len({type(scorer) for scorer in found}) > 3
    assert all(scorer.is_scorer for scorer in found)


def test_a_method_is_a_file_of_its_own_that_fits_a_screen() -> None:
    modules = {name: inspect.getmodule(one.build) for name, one in own_methods().items()}
    assert len(set(modules.values())) == len(modules)
    lines = {name: lines_of_code(inspect.getsource(module)) for name, module in modules.items() if module is not None}
    assert max(lines.values()) <= 80, lines
    assert statistics.median(lines.values()) <= 40, lines
