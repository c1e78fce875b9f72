"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Replaces what is there in one go; whatever goes wrong, nothing new is left. Raises OSError.

    Args:
        content: bytes, or text that is written in UTF-8.
    """
    half = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        half.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        os.replace(half, path)
    except OSError as error:
        # A name that nobody gave would help nobody, and a full disk names none.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        half.unlink(missing_ok=True)
