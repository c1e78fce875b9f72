"""What a recorded run of the kernel tests ran on: `python -m tests.kernels.versions`."""

from __future__ import annotations

import platform

import torch
import triton

from seats_ops.testing.parity import revision

if __name__ == "__main__":
    versions = f"torch {torch.__version__}, triton {triton.__version__}"
    print(f"seats_ops {revision()}, Python {platform.python_version()}, {versions}")
