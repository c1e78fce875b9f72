"""The versions of transformers that the adapters were tested with."""

from __future__ import annotations

SUPPORTED = ">=5.23,<5.24"


def unsupported_transformers() -> str | None:
    """Why the adapters cannot work with the transformers that is installed; None if they can.

    Hooks find modules, arguments and cache layers by their names, and these change between versions: with another one
    pruning might go wrong without an error.
    """
    try:
        import transformers
    except ModuleNotFoundError as error:
        if error.name != "transformers":
            raise
        installed = "none installed"
    else:
        # A dependency of transformers, so it is only there if that is.
        from packaging.specifiers import SpecifierSet

        installed = transformers.__version__
        if SpecifierSet(SUPPORTED).contains(installed):
            return None
    return f"transformers: expected a version {SUPPORTED}, got {installed} (pip install 'seats_ops[hf]' brings one)"
