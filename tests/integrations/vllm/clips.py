"""Clips as files, as somebody would send them: .mp4 with a picture, a sound track, or both."""

from __future__ import annotations

import base64
import io
from typing import Any

import av
import numpy as np

from tests.integrations.vllm.cases import RATE


def mp4(frames: np.ndarray | None = None, fps: int = 1, samples: np.ndarray | None = None) -> bytes:
    """MPEG-4 and AAC.

    Args:
        frames: uint8 [frames, height, width, 3].
        fps: of them.
        samples: float32 [samples] at 16 kHz.
    """
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        video: Any = None if frames is None else out.add_stream("mpeg4", rate=fps)
        sound: Any = None if samples is None else out.add_stream("aac", rate=RATE, layout="mono")
        if frames is not None:
            video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv420p"
            for frame in frames:
                out.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            out.mux(video.encode())
        if samples is not None:
            whole = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
            whole.sample_rate, whole.pts = RATE, 0
            cut = av.AudioResampler(format="fltp", layout="mono", rate=RATE, frame_size=1024)
            for part in (*cut.resample(whole), *cut.resample(None)):
                out.mux(sound.encode(part))
            out.mux(sound.encode())
    return file.getvalue()


def data_url(content: bytes, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
