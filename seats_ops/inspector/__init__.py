"""One page, in one file, that shows what a prefill kept and why each of the other tokens left: `trace.to_html`."""

from seats_ops.inspector.media import Media
from seats_ops.inspector.page import page, write

__all__ = ["Media", "page", "write"]
