"""Walk-throughs: pages in which cog puts scripts, and commands with what they print.

A page says what it shows in comments, `[[[cog show("script.py") ]]]` and `[[[cog run("python script.py") ]]]`. All of
its commands run in one empty folder, to which `show` copies what it shows. `python -m tests.docs.walkthroughs` records
all pages, or those that are named.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.docs.recording import ROOT, environment, tidy

SOURCES = ROOT / "docs" / "walkthroughs"
PAGES = sorted(SOURCES.glob("*.md"))

# Random weights, a clock and an allocator: what no two machines have in common of what `seats-ops compare` prints.
MEASURED = {
    r"(?m)(?: +\d+\.\d%){3} +\d\.\d{3} *$": "     ..%         ..%   ..%   ..",
    r"(?m)((?: +\d+\.\d%){3})(?: +\d+\.\d%){3} *$": r"\1     ..%   ..%    ..%",
    r"(?m)(?: +\d\.\d{3} +\d+%){2} *$": "      ..  ..%       ..  ..%",
}

_folder = tempfile.TemporaryDirectory(prefix="mine-")


def show(name: str, language: str = "python") -> None:
    """A file beside the page, which the reader writes too."""
    shutil.copy(SOURCES / name, _folder.name)
    print(f"```{language}\n{(SOURCES / name).read_text(encoding='utf-8').rstrip()}\n```")


def run(*commands: str, but: Mapping[str, str] | None = None) -> None:
    """Shell commands and their output.

    Args:
        commands: each must succeed.
        but: what else differs from run to run, as patterns and what to take them for. What was recorded stays if
            nothing else has changed. The page should say so.
    """
    import cog  # there while a page is made

    text = _console(commands)
    same = _masked(cog.previous.strip(), but) == _masked(text, but)
    print(cog.previous.strip() if same else text)


def _masked(text: str, but: Mapping[str, str] | None) -> str:
    for pattern, taken_for in (but or {}).items():
        text = re.sub(pattern, taken_for, text)
    return text


def _console(commands: Sequence[str]) -> str:
    shown = ["```console"]
    for command in commands:
        done = subprocess.run(
            command,
            shell=True,
            cwd=_folder.name,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{command}: ended with {done.returncode}\n{done.stdout}")
        lines = [f"$ {command}", *tidy(done.stdout, Path(_folder.name)).rstrip().splitlines()]
        shown += [line.rstrip() for line in lines]
    return "\n".join([*shown, "```"])


def cog(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run cog on a page, in a process and a folder of its own: `-r` records, `--check` compares."""
    prologue = "from tests.docs.walkthroughs import MEASURED, run, show"
    command = [sys.executable, "-m", "cogapp", "-P", "-p", prologue, *options, str(page)]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)


def main(names: Sequence[str]) -> None:
    """Record the pages."""
    for page in [Path(name) for name in names] or PAGES:
        done = cog(page, "-r")
        print(f"{done.stdout}{done.stderr}", end="")
        if done.returncode:
            raise SystemExit(done.returncode)


if __name__ == "__main__":
    main(sys.argv[1:])
