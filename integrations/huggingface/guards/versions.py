"""The versions of transformers that the adapters take; nothing of it is imported here before somebody asks."""

from __future__ import annotations

FLOOR = "5.17"
NEWEST_TESTED = "5.24"


def check_transformers() -> None:
    """Raise ImportError, with what was found and what was expected, without a transformers that the adapters take."""
    try:
        import transformers
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        installed = "none installed"
    else:
        # A dependency of transformers, so it is only there if that is.
        from packaging.version import Version

        installed = transformers.__version__
        if Version(installed) >= Version(FLOOR):
            return
    raise ImportError(
        f"transformers: expected a version >={FLOOR}, got {installed} (pip install 'seats_ops[hf]' brings one)"
    )


def newer_than_tested() -> str | None:
    """The version of transformers, if it is newer than all that the tests ran with."""
    import transformers
    from packaging.version import Version

    newer = Version(transformers.__version__).release[:2] > Version(NEWEST_TESTED).release[:2]
    return transformers.__version__ if newer else None
