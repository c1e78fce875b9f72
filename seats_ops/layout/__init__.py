"""What a token is and where it came from: `Modality`, and the `TokenLayout` that flows through a schedule."""

from __future__ import annotations

from seats_ops.layout.groups import Groups, group_tokens
from seats_ops.layout.modality import MediaShape, Modality
from seats_ops.layout.places import partners
from seats_ops.layout.token_layout import TokenLayout, check_layout

__all__ = ["Groups", "MediaShape", "Modality", "TokenLayout", "check_layout", "group_tokens", "partners"]
