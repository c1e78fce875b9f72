"""Pages of which a part is made: what stands between two comments is written anew, the rest is by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def replaced(text: str, found: Mapping[str, Sequence[str]]) -> str:
    """A page with the lines of every part, by name, between its marks. Raises ValueError: a mark is missing."""
    for name, lines in found.items():
        start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, mark, after = text.partition(start)
        _, closing, after = after.partition(end)
        if not (mark and closing):
            raise ValueError(f"page: expected the marks {start} and {end}, got none")
        text = f"{before}{start}\n\n" + "\n".join(lines) + f"\n\n{end}{after}"
    return text
