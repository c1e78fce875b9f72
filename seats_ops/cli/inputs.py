"""A clip and a question as keyword arguments for the thinker: by the demo's own preparation or a model's processor."""

from __future__ import annotations

import functools
from typing import Any

import torch
from transformers import AutoProcessor

from .clip import FRAMES_PER_PATCH, Clip
from .interleave import chunk_runs
from .options import Options
from .prepare import num_audio_tokens, sound_inputs, video_inputs
from .prompt import SYSTEM, media_ids, prompt_ids

DEFAULT_FRAME_TOKENS = 768
"""Qwen2.5-Omni's own bound on video tokens per temporal patch."""

DEMO_FRAME_TOKENS = 200
"""11 x 21 tokens for a 16:9 frame: a prompt of some 1,350 tokens, and five runs in less than a minute of one core."""


def prompt_inputs(options: Options, clip: Clip, config: Any) -> tuple[dict[str, Any], str]:
    """Model inputs, and in words who prepared them."""
    reason = ""
    if options.model is not None and options.frame_tokens is None:
        try:
            processor = load_processor(options.model)
        except (ImportError, OSError, ValueError) as error:
            reason = f", as the model's own processor does not load ({str(error).strip().splitlines()[0]})"
        else:
            return processor_inputs(processor, clip, options.question), "the model's own processor"
    default = DEMO_FRAME_TOKENS if options.model is None else DEFAULT_FRAME_TOKENS
    frame_tokens = options.frame_tokens or default
    return own_inputs(clip, options.question, config, frame_tokens=frame_tokens), f"the demo's preparation{reason}"


def own_inputs(clip: Clip, question: str, config: Any, *, frame_tokens: int = DEFAULT_FRAME_TOKENS) -> dict[str, Any]:
    """Inputs for a thinker with this config, without torchvision and without files of the model.

    Returns:
        `input_ids`, `attention_mask` int64 `[1, S]`, the tensors of `video_inputs` and, unless the clip is silent, of
        `sound_inputs`, and `use_audio_in_video`.

    Raises:
        ValueError: a question without text, a model that does not fit the prompt.
    """
    if not question.strip():
        raise ValueError("question: got an empty text, expected a question")
    inputs: dict[str, Any] = dict(video_inputs(clip, config.vision_config, frame_tokens=frame_tokens))
    audio_tokens = 0
    if clip.sound is not None:
        inputs.update(sound_inputs(clip.sound, num_mel_bins=config.audio_config.num_mel_bins))
        audio_tokens = num_audio_tokens(inputs["feature_attention_mask"])
    grids, height, width = merged_grid(inputs, config)
    runs = chunk_runs(
        grids,
        height * width,
        audio_tokens,
        seconds_per_grid=FRAMES_PER_PATCH / clip.fps,
        config=config,
    )
    ids = prompt_ids(media_ids(runs, config), question, vocab_size=config.text_config.vocab_size)
    inputs.update(input_ids=ids, attention_mask=torch.ones_like(ids), use_audio_in_video=audio_tokens > 0)
    return inputs


@functools.cache
def load_processor(model: str) -> Any:
    """The processor that comes with a checkpoint.

    Raises:
        ImportError: it needs a package that is missing or does not import, such as torchvision.
        OSError, ValueError: the checkpoint has none.
    """
    return AutoProcessor.from_pretrained(model)


def processor_inputs(processor: Any, clip: Clip, question: str) -> dict[str, Any]:
    """What `own_inputs` gives, from a model's own processor; frames and sound are passed as decoded."""
    conversation = [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM}]},
        {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": question}]},
    ]
    text = processor.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    sound = {} if clip.sound is None else {"audio": [clip.sound], "audio_from_video_indices": [0]}
    batch = processor(
        text=[text],
        videos=[torch.from_numpy(clip.frames).permute(0, 3, 1, 2)],
        load_audio_from_video=clip.sound is not None,
        do_sample_frames=False,
        fps=clip.fps,
        return_tensors="pt",
        **sound,
    )
    return {**batch, "use_audio_in_video": clip.sound is not None}


def merged_grid(inputs: dict[str, Any], config: Any) -> tuple[int, int, int]:
    """Temporal patches, height and width of the one video of a prompt, in video tokens."""
    merge = config.vision_config.spatial_merge_size
    grids, height, width = inputs["video_grid_thw"][0].tolist()
    return grids, height // merge, width // merge
