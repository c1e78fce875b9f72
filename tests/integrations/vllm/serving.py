"""The OpenAI-compatible server of vLLM, in processes of its own, on loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from seats_ops import Schedule
from seats_ops.integrations.vllm import overrides
from tests.integrations.vllm.checkpoint import PIXELS
from tests.integrations.vllm.engines import QUIET

START = 400
"""Seconds that a server may take to start."""


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Attributes:
        client: of its address.
    """

    client: httpx.Client

    def chat(self, *parts: dict[str, Any], **options: Any) -> httpx.Response:
        """What it says to one message of these parts."""
        return self.client.post("/v1/chat/completions", json=_body(parts, options))

    def streamed(self, *parts: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
        """The same piece by piece."""
        asked = _body(parts, {**options, "stream": True, "stream_options": {"include_usage": True}})
        with self.client.stream("POST", "/v1/chat/completions", json=asked) as response:
            response.raise_for_status()
            lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
        assert lines.pop() == "[DONE]"
        return [json.loads(line) for line in lines]


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def video(url: str) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}}


def _body(parts: tuple[dict[str, Any], ...], options: dict[str, Any]) -> dict[str, Any]:
    plain = {"temperature": 0, "max_tokens": 16, "ignore_eos": True, "return_token_ids": True}
    return {"model": "tiny", "messages": [{"role": "user", "content": list(parts)}], **plain, **options}


@contextmanager
def running(checkpoint: Path, schedule: Schedule, log: Path, **options: Any) -> Iterator[Server]:
    """A server of a checkpoint and a schedule, ended with the block.

    Args:
        log: where it writes what it says.
        options: of its command line, as JSON where they are no strings.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = {
        "model": str(checkpoint),
        "served_model_name": "tiny",
        "host": "127.0.0.1",
        "port": port,
        "hf_overrides": overrides(schedule),
        "dtype": "float32",
        "block_size": 32,
        "max_num_seqs": 4,
        "mm_processor_kwargs": {"size": PIXELS},
        "media_io_kwargs": {"video": {"num_frames": -1, "fps": 2}},
        **options,
    }
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--trust-request-mm-kwargs"]
    command += ["--enforce-eager", "--skip-mm-profiling"]
    for name, value in given.items():
        command += [f"--{name.replace('_', '-')}", value if isinstance(value, str) else json.dumps(value)]
    here = str(Path(__file__).parents[3])
    place = {"PYTHONPATH": here, "VLLM_CACHE_ROOT": str(checkpoint.parent / "vllm-cache")}
    environment = {**os.environ, **QUIET, **place, "VLLM_LOGGING_LEVEL": "INFO"}
    del environment["VLLM_ENABLE_V1_MULTIPROCESSING"]
    with log.open("w") as said:
        process = subprocess.Popen(
            command, cwd=here, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        # Loopback: no proxy of the environment may come between.
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=120) as client:
            _wait(client, process, log)
            yield Server(client)
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            _end_group(process.pid)


def _wait(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START
    while process.poll() is None and time.monotonic() < until:
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise RuntimeError(f"server: expected it to start within {START} s, got\n{log.read_text()[-4000:]}")


def _end_group(group: int) -> None:
    """The engine's process outlives a server that was ended in another way than it expects."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
