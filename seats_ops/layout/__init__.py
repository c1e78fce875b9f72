"""What a token is and where it came from: `Modality`, and the `TokenLayout` that flows through a schedule."""

from __future__ import annotations

from seats_ops.layout.token_layout import Modality, TokenLayout, check_layout

__all__ = ["Modality", "TokenLayout", "check_layout"]
