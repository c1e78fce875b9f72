"""What a recorded run of the kernel tests ran on: `python -m tests.kernels.versions`."""

from __future__ import annotations

import platform

import torch
import triton

if __name__ == "__main__":
    print(f"Python {platform.python_version()}, torch {torch.__version__}, triton {triton.__version__}")
