"""Full models small enough to speak on a CPU in a fraction of a second: random thinker, talker and vocoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen3OmniMoeConfig,
    Qwen3OmniMoeForConditionalGeneration,
)

from tests.integrations.huggingface.families.families import qwen3_omni_config
from tests.integrations.huggingface.models import randomise, thinker_config
from tests.integrations.huggingface.prompts import Text, Video, build_prompt

_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_MEDIA = {
    "vision_start_token_id": 293,
    "vision_end_token_id": 294,
    "audio_start_token_id": 295,
    "audio_end_token_id": 296,
}
_SMALL = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": 4096,
}
_MEL, _SPEAKER = 16, 16
# Ids from 281 are text of the thinker, those from 50 codes.
_TALKER_2_5 = {
    **_SMALL,
    **_MEDIA,
    "vocab_size": 64,
    "embedding_size": 64,
    "rope_parameters": _ROPE | {"mrope_section": [2, 3, 3]},
    "audio_token_index": 290,
    "image_token_index": 291,
    "video_token_index": 292,
    "tts_text_start_token_id": 281,
    "tts_text_end_token_id": 282,
    "tts_text_pad_token_id": 283,
    "tts_codec_pad_token_id": 50,
    "tts_codec_start_token_id": 51,
    "tts_codec_end_token_id": 52,
    "tts_codec_mask_token_id": 53,
    "pad_token_id": None,
}
_VOCODER_2_5 = {
    "dit_config": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "head_dim": 8,
        "ff_mult": 1,
        "emb_dim": 8,
        "block_size": 4,
        "look_ahead_layers": [0],
        "look_backward_layers": [0],
        "repeats": 2,
        "num_embeds": 65,
        "mel_dim": _MEL,
        "enc_emb_dim": _SPEAKER,
        "enc_dim": 8,
        "enc_channels": [8, 8, 8],
        "enc_kernel_sizes": [3, 3, 1],
        "enc_dilations": [1, 2, 1],
        "enc_attention_channels": 4,
        "enc_res2net_scale": 2,
        "enc_se_channels": 4,
    },
    "bigvgan_config": {
        "mel_dim": _MEL,
        "upsample_initial_channel": 8,
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 1, 1]],
        "upsample_rates": [2, 2],
        "upsample_kernel_sizes": [4, 4],
    },
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
# The last 1024 ids of the talker are suppressed; what is left are the 48 codes of the vocoder.
_TALKER_3 = {
    "text_config": {
        **_SMALL,
        **_EXPERTS,
        "vocab_size": 1024 + 48,
        "shared_expert_intermediate_size": 16,
        "rope_parameters": _ROPE | {"mrope_section": [4, 2, 2], "interleaved": True},
    },
    "code_predictor_config": {**_SMALL, "vocab_size": 48, "num_code_groups": 3, "max_position_embeddings": 64},
    "num_code_groups": 3,
    "thinker_hidden_size": 64,
    "accept_hidden_layer": 4,
    "codec_eos_token_id": 1060,
    "codec_nothink_id": 1061,
    "codec_think_bos_id": 1062,
    "codec_think_eos_id": 1063,
    "codec_pad_id": 1064,
    "codec_bos_id": 1065,
    "position_id_per_seconds": 13,
    "seconds_per_chunk": 2,
    "spatial_merge_size": 2,
    "speaker_id": {"ethan": 1066},
    "audio_token_id": 290,
    "image_token_id": 291,
    "video_token_id": 292,
    **_MEDIA,
}
_VOCODER_3 = {
    "codebook_size": 48,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_quantizers": 3,
    "upsample_rates": [2, 2],
    "upsampling_ratios": [2],
    "decoder_dim": 16,
    "sliding_window": 8,
    "max_position_embeddings": 512,
}
_START, _END, _USER, _ASSISTANT = 284, 285, 286, 287
_SHORT = {
    "thinker_max_new_tokens": 5,
    "thinker_min_new_tokens": 5,
    "thinker_do_sample": False,
    "talker_do_sample": False,
    "talker_max_new_tokens": 12,
    "talker_min_new_tokens": 6,
}


@dataclass(frozen=True)
class Speaker:
    """A full model, a prompt for its `generate`, and the keywords of a short, repeatable answer in speech."""

    model: nn.Module
    inputs: dict[str, Any]
    keywords: dict[str, Any]

    def speak(self, **options: Any) -> tuple[Tensor, Tensor]:
        """Ids of the whole conversation and the waveform."""
        torch.manual_seed(0)  # the vocoder starts from noise
        ids, wave = self.model.generate(**self.inputs, **self.keywords, **options)
        return getattr(ids, "sequences", ids), wave

    @property
    def thinker_inputs(self) -> dict[str, Any]:
        return {name.removeprefix("thinker_"): value for name, value in self.inputs.items()}


def _prepare(model: Any, vocoder: nn.Module, last: Tensor, gain: float) -> None:
    """Random weights; a talker that attends to single tokens; a waveform that is not clamped to -1 and 1."""
    for seed, part in enumerate((model.thinker, model.talker, vocoder)):
        randomise(part, seed)
    for name, parameter in model.talker.named_parameters():
        if name.endswith(("q_proj.weight", "k_proj.weight", "q_norm.weight", "k_norm.weight")):
            parameter.data *= 4.0
    last.data *= gain


def qwen2_5_speaker(attention: str = "sdpa") -> Speaker:
    config = Qwen2_5OmniConfig(
        thinker_config=thinker_config().to_dict(),
        talker_config=_TALKER_2_5,
        token2wav_config=_VOCODER_2_5,
        enable_audio_output=True,
    )
    model = Qwen2_5OmniForConditionalGeneration._from_config(config, attn_implementation=attention).eval()
    _prepare(model, model.token2wav, model.token2wav.code2wav_bigvgan_model.conv_post.weight, 0.02)
    generator = torch.Generator().manual_seed(0)
    condition, mel = torch.randn(1, _SPEAKER, generator=generator), torch.randn(1, 20, _MEL, generator=generator)
    model.speaker_map = {"Chelsie": {"bos_token": 284, "cond": condition, "ref_mel": mel}}
    prompt = build_prompt(config.thinker_config, Text(9), Video((5, 4, 6), 1.0, mel_frames=430), Text(7))
    # Without the prefix transformers hands pixels on to the talker as well, which refuses them.
    inputs = {("thinker_" if name.startswith("pixel_values") else "") + name: x for name, x in prompt.items()}
    return Speaker(model, inputs, {**_SHORT, "talker_eos_token_id": [50, 52]})


def qwen3_speaker(attention: str = "sdpa") -> Speaker:
    config = Qwen3OmniMoeConfig(
        thinker_config=qwen3_omni_config().to_dict() | {"user_token_id": _USER},
        talker_config=_TALKER_3,
        code2wav_config=_VOCODER_3,
        enable_audio_output=True,
        im_start_token_id=_START,
        im_end_token_id=_END,
        system_token_id=288,
        user_token_id=_USER,
        assistant_token_id=_ASSISTANT,
        tts_pad_token_id=281,
        tts_bos_token_id=282,
        tts_eos_token_id=283,
    )
    model = Qwen3OmniMoeForConditionalGeneration._from_config(config, attn_implementation=attention).eval()
    _prepare(model, model.code2wav, model.code2wav.decoder[-1].conv.weight, 0.002)
    # The talker reads it for prompts with sound and pictures, and its own config has none.
    model.talker.config.audio_config = config.thinker_config.audio_config
    prompt = build_prompt(config.thinker_config, Text(9), Video((5, 4, 6), 1.0, mel_frames=430), Text(7))
    # The talker looks for the turns of a chat: the user's with the clip, then the assistant's.
    prompt["input_ids"][0, :3] = torch.tensor([_START, _USER, 5])
    prompt["input_ids"][0, -5:] = torch.tensor([_END, 5, _START, _ASSISTANT, 5])
    return Speaker(model, prompt, {**_SHORT, "thinker_eos_token_id": _END, "talker_use_audio_in_video": True})


SPEAKERS = {"qwen2_5_omni": qwen2_5_speaker, "qwen3_omni": qwen3_speaker}
