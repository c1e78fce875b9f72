"""How long the parts of a prompt are: all that token counts depend on before any token exists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from seats_ops.layout import MediaShape, Modality, TokenLayout
from seats_ops.validation import describe


def split_blocks(num_tokens: int, block: int) -> tuple[int, ...]:
    """Lengths of consecutive blocks of `block` tokens, as Stage I cuts a video or an audio; the last may be short.

    Example:
        >>> from seats_ops.cost import split_blocks
        >>> split_blocks(120, 50)
        (50, 50, 20)
    """
    _check_lengths("num_tokens", (num_tokens,))
    _check_lengths("block", (block,))
    if block < 1:
        raise ValueError(f"block: expected at least 1, got {block}")
    return tuple(min(block, num_tokens - start) for start in range(0, num_tokens, block))


@dataclass(frozen=True)
class PromptLengths:
    """How long the parts of one prompt are.

    Attributes:
        text: tokens that are not audio, video or image, special tokens included.
        video_blocks, audio_blocks, image_blocks: tokens of every Stage I block, see `split_blocks`. A token outside all
            blocks, which Stage I keeps, is a block of 1.
        windows: (video, audio) tokens of every Stage II window of the original prompt, as the schedule's `windows` mode
            cuts it; empty means one window.
        shapes: `MediaShape` of every item, in order of appearance, for stages that count by frames or items; None where
            nobody knows. They hold all video, audio and image tokens.

    Raises:
        TypeError, ValueError: lengths that are not ints >= 0, windows that do not hold all audio and video tokens.

    Example:
        >>> from seats_ops.cost import PromptLengths, split_blocks
        >>> lengths = PromptLengths(text=20, video_blocks=split_blocks(300, 100), audio_blocks=split_blocks(120, 50))
        >>> lengths.video, lengths.audio, lengths.total
        (300, 120, 440)
    """

    text: int = 0
    video_blocks: tuple[int, ...] = ()
    audio_blocks: tuple[int, ...] = ()
    image_blocks: tuple[int, ...] = ()
    windows: tuple[tuple[int, int], ...] = ()
    shapes: tuple[MediaShape, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("video_blocks", "audio_blocks", "image_blocks", "windows"):
            value = getattr(self, name)
            if not isinstance(value, Iterable):
                raise TypeError(f"{name}: expected a tuple, got {describe(value)}")
            object.__setattr__(self, name, tuple(value))
        _check_lengths("text", (self.text,))
        for name in ("video_blocks", "audio_blocks", "image_blocks"):
            _check_lengths(name, getattr(self, name))
        for window in self.windows:
            _check_lengths("windows", window)
            if len(window) != 2:
                raise ValueError(f"windows: expected pairs of (video, audio) tokens, got {window}")
        held = sum(video for video, _ in self.windows), sum(audio for _, audio in self.windows)
        if self.windows and held != (self.video, self.audio):
            raise ValueError(f"windows: expected all {(self.video, self.audio)} tokens of (video, audio), got {held}")
        if self.shapes is not None:
            object.__setattr__(self, "shapes", tuple(MediaShape(*shape) for shape in self.shapes))
            by_kind = [sum(s.num_tokens for s in self.shapes if s.modality == m) for m in (1, 2, 3)]
            expected = [self.video, self.audio, self.image]
            if by_kind != expected:
                raise ValueError(f"shapes: expected all {expected} tokens of video, audio and image, got {by_kind}")

    @property
    def video(self) -> int:
        return sum(self.video_blocks)

    @property
    def audio(self) -> int:
        return sum(self.audio_blocks)

    @property
    def image(self) -> int:
        return sum(self.image_blocks)

    @property
    def total(self) -> int:
        return self.text + self.video + self.audio + self.image

    @classmethod
    def from_layout(cls, layout: TokenLayout, row: int = 0) -> PromptLengths:
        """The lengths of one prompt of a layout that nothing was dropped from; reads it back to the host.

        Raises:
            ValueError: an audio or video token without a window, a row that does not exist.

        Example:
            >>> from seats_ops import Modality
            >>> from seats_ops.testing import layout_of_runs
            >>> layout = layout_of_runs([[(Modality.VIDEO, 12), (Modality.TEXT, 3)]], block_length=8)
            >>> lengths = PromptLengths.from_layout(layout)
            >>> lengths.text, lengths.video_blocks, lengths.windows
            (3, (8, 4), ((12, 0),))
        """
        if not 0 <= row < layout.num_rows:
            raise ValueError(f"row: expected 0 to {layout.num_rows - 1}, got {row}")
        part = slice(*layout.cu_seqlens[row : row + 2].tolist())
        kinds = layout.modality[part].tolist()
        block_ids = kinds if layout.block is None else layout.block[part].tolist()
        window_ids = [0] * len(kinds) if layout.window is None else layout.window[part].tolist()
        blocks = Counter((k, b if b >= 0 else -1 - i) for i, (k, b) in enumerate(zip(kinds, block_ids, strict=True)))
        cells = Counter((w, k) for w, k in zip(window_ids, kinds, strict=True) if k in (Modality.VIDEO, Modality.AUDIO))
        if any(window < 0 for window, _ in cells):
            raise ValueError("layout.window: expected a window for every audio and video token, got -1 for some")
        video, audio, image = (
            tuple(n for (k, _), n in blocks.items() if k == m) for m in (Modality.VIDEO, Modality.AUDIO, Modality.IMAGE)
        )
        windows = tuple((cells[w, Modality.VIDEO], cells[w, Modality.AUDIO]) for w in sorted({w for w, _ in cells}))
        shapes = None
        if layout.shapes is not None and layout.grid is not None:
            shapes = tuple(layout.shapes[i] for i in sorted(set(layout.grid[part, 0].tolist()) - {-1}))
            if sum(shape.num_tokens for shape in shapes) != sum(kind != Modality.TEXT for kind in kinds):
                shapes = None
        return cls(kinds.count(Modality.TEXT), video, audio, image, windows, shapes)


def _check_lengths(name: str, lengths: tuple[int, ...]) -> None:
    for length in lengths:
        if type(length) is not int:
            raise TypeError(f"{name}: expected ints, got {describe(length)}")
        if length < 0:
            raise ValueError(f"{name}: expected ints >= 0, got {length}")
