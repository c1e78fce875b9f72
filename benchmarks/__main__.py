"""`python -m benchmarks`: what a user can mend is said in a line, not in a traceback."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from benchmarks.commands import app  # Loads torch, which may be too old, and what else may be missing.

        app()
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        sys.exit(f"benchmarks: {error}")


if __name__ == "__main__":
    main()
