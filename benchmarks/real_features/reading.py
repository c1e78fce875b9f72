"""Mask and read: a caption is read where tokens are kept, and compared with what was written."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from PIL import Image

ENLARGED = 2


@cache
def _reader() -> Any:
    from rapidocr_onnxruntime import RapidOCR  # Loads its networks.

    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)


def read(box: np.ndarray) -> str:
    """The line in uint8 [h, w, 3], lower case; "" where nothing is found. Where the line is, is given."""
    if not box.any():
        return ""
    large = Image.fromarray(box).resize((ENLARGED * box.shape[1], ENLARGED * box.shape[0]), Image.Resampling.BICUBIC)
    lines, _ = _reader()(np.asarray(large)[..., ::-1], use_det=False, use_cls=False, use_rec=True)
    return "" if not lines else str(lines[0][0]).strip().lower()


def character_error(text: str, box: np.ndarray) -> float:
    """Insertions, deletions and substitutions, by characters of `text`: 0 if all is read, 1 if nothing is."""
    from jiwer import cer  # Comes with the reader.

    return float(cer(text, read(box)))
