"""One page, in one file, that shows what a prefill kept and why each of the other tokens left.

Example:
    >>> from seats_ops import seats
    >>> from seats_ops.integrations import attach
    >>> with attach(model, seats(model.config, video=0.06, audio=0.35), record="scores") as trace:
    ...     answer = model.generate(**inputs, max_new_tokens=1)  # of a thinker, with what its processor returned
    >>> trace.to_html("page.html", config=model.config).name
    'page.html'
"""

from seats_ops.inspector.media import Media
from seats_ops.inspector.page import page, write

__all__ = ["Media", "page", "write"]
