"""`python -m seats_ops.cli` is `seats-ops`."""

from __future__ import annotations

from . import main

if __name__ == "__main__":
    main()
