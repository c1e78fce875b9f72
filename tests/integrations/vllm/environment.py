"""Mends torchvision in the environment of `make test-vllm`, whose Python runs this file once, after installing.

The compiled part of PyPI's torchvision wants another torch than vLLM's CPU build has. Without that part torchvision
cannot be imported, for want of two operators. Nothing here calls them, so they are declared before it looks; in the
package itself, as engines import it in processes of their own.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

NAME = "torchvision_operators"
DECLARATIONS = '''"""Operators of torchvision's compiled part, declared without it."""

import torch

library = torch.library.Library("torchvision", "FRAGMENT")
for name in ("nms", "qnms"):
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
'''


def imports() -> bool:
    """Whether a new process can import it."""
    return subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True).returncode == 0


def main() -> None:
    if imports():
        return
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        sys.exit("torchvision: expected it to be installed, got none")
    init = Path(spec.origin)
    (init.parents[1] / f"{NAME}.py").write_text(DECLARATIONS)
    init.write_text(f"import {NAME}\n{init.read_text()}")
    if not imports():
        sys.exit("torchvision: expected to be importable with its operators declared, got another error")


if __name__ == "__main__":
    main()
