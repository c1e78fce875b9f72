"""Notebooks are committed with what running them shows; `python -m tests.docs.notebooks` runs and writes them anew."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.docs.recording import ROOT, environment, tidy

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
# Importing transformers asks for a package of widgets, which no cell needs.
QUIET = {"PYTHONWARNINGS": "ignore:IProgress not found"}
PYTHON = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}


def executed(path: Path) -> NotebookNode:
    """The notebook as a new process shows it, from an empty folder; raises CellExecutionError where a cell fails."""
    notebook = nbformat.read(path, 4)
    with tempfile.TemporaryDirectory(prefix="mine-") as folder:
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources, record_timing=False)
        client.execute(env=environment() | QUIET)
        for number, cell in enumerate(notebook.cells):
            cell.id = f"cell-{number}"
            for output in cell.get("outputs", ()):
                output.get("metadata", {}).clear()
                texts = output if output.output_type == "stream" else output.get("data", {})
                for name in [name for name in texts if name in ("text", "text/plain", "text/html")]:
                    texts[name] = tidy(texts[name], Path(folder))
    # What else is in there tells of the machine.
    notebook.metadata = nbformat.from_dict(PYTHON)
    return notebook


def texts_of(notebook: NotebookNode) -> list[list[tuple[str, str]]]:
    """Per cell of code (kind, text) of its outputs, without the inspector's page: it holds scores to their last bit."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        shown = []
        for output in cell.outputs:
            texts = {output.name: output.text} if output.output_type == "stream" else dict(output.data)
            shown += [(kind, text) for kind, text in sorted(texts.items()) if not text.startswith("<iframe")]
        found.append(shown)
    return found


def main(names: Sequence[str]) -> None:
    """Run the notebooks, all or those that are named, and write what they show."""
    for path in [Path(name) for name in names] or NOTEBOOKS:
        nbformat.write(executed(path), path)
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
