"""Every argument of the models that are supported, and what pruning makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PASSES, TRANSLATED, REFUSED = "passes", "translated", "refused"


@dataclass(frozen=True)
class Argument:
    """What is done with an argument.

    Attributes:
        treatment: "passes": it does not count columns of the prompt, or is used up before any of them is dropped;
            "translated": it is looked at, and what it says of the caller's columns is said of those that are left, or
            refused where that cannot be; "refused": `UnsupportedModelState`, unless it is None.
        reason: for that.
        harmless: other values of a refused one that ask for nothing.
    """

    treatment: str
    reason: str
    harmless: tuple[Any, ...] = ()

    def refuses(self, value: Any) -> bool:
        """Whether a caller may not give this value."""
        asks_for_nothing = value is None or (isinstance(value, (bool, int, float, str)) and value in self.harmless)
        return self.treatment == REFUSED and not asks_for_nothing


def _all(treatment: str, names: str, reason: str, *harmless: Any) -> dict[str, Argument]:
    return {name: Argument(treatment, reason, harmless) for name in names.split()}


_PACKED = "several samples in one row are not told apart; give every sample a row"
_ITSELF = "`generate` says so itself"
_DRAFTS = "assisted decoding puts draft tokens into the prefill, so its last token is not the query"
_ELSEWHERE = "its decoding loop is not part of transformers"

FORWARD: Mapping[str, Argument] = {
    **_all(
        PASSES,
        "input_features feature_attention_mask audio_feature_lengths pixel_values pixel_values_videos image_grid_thw "
        "video_grid_thw video_second_per_grid second_per_grid_ts use_audio_in_video mm_encoder_outputs "
        "image_pixel_values image_sizes image_attention_mask audio_input_features audio_embed_sizes "
        "audio_attention_mask",
        "media become embeddings before anything is dropped",
    ),
    **_all(PASSES, "mm_token_type_ids", "positions are made of it before anything is dropped"),
    **_all(PASSES, "use_cache return_dict", "counts nothing; `generate` under 'uniform' needs its cache"),
    **_all(PASSES, "output_hidden_states output_attentions", "as long as what each layer saw"),
    **_all(PASSES, "num_items_in_batch", "divides a loss, for which labels are refused"),
    **_all(TRANSLATED, "input_ids", "media are found by their placeholders"),
    **_all(TRANSLATED, "attention_mask", "2-D, of 0 and 1; layers get one for the tokens that are left"),
    **_all(TRANSLATED, "position_ids", "tokens keep theirs; rows that hold several samples are refused"),
    **_all(TRANSLATED, "past_key_values cache", "keys of dropped tokens leave a `DynamicCache`; others are refused"),
    **_all(TRANSLATED, "logits_to_keep", "columns of the caller's `input_ids`; one that was dropped is refused"),
    **_all(TRANSLATED, "output_router_logits", "refused with the first drop: the balancing loss is over all columns"),
    **_all(REFUSED, "inputs_embeds", "media are found by their placeholders; pass input_ids and features instead"),
    **_all(REFUSED, "labels", "they have the unpruned length; compute the loss outside"),
    **_all(REFUSED, "cu_seq_lens_q cu_seq_lens_k max_length_q max_length_k seq_idx", _PACKED),
    **_all(REFUSED, "is_causal", "scores assume a causal decoder, and transformers hands it on to the towers as well"),
}
"""Arguments of a model's forward by name, those that it takes as further keyword arguments included."""

GENERATE: Mapping[str, Argument] = {
    **_all(PASSES, "inputs", "another name of `input_ids`"),
    **_all(PASSES, "generation_config", "its fields are looked at one by one"),
    **_all(PASSES, "labels", "`generate` keeps them from the model"),
    **_all(
        PASSES,
        "logits_processor stopping_criteria prefix_allowed_tokens_fn streamer tokenizer stop_strings max_length "
        "max_new_tokens min_length min_new_tokens max_time exponential_decay_length_penalty repetition_penalty "
        "encoder_repetition_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids sequence_bias "
        "suppress_tokens begin_suppress_tokens forced_bos_token_id forced_eos_token_id bos_token_id eos_token_id "
        "pad_token_id decoder_start_token_id watermarking_config",
        "works on ids, of which `generate` keeps all",
    ),
    **_all(
        PASSES,
        "do_sample temperature top_k top_p top_h min_p typical_p epsilon_cutoff eta_cutoff renormalize_logits "
        "remove_invalid_values num_beams num_return_sequences early_stopping length_penalty diversity_penalty",
        "chooses among logits; rows of one prompt drop alike",
    ),
    **_all(
        PASSES,
        "output_scores output_logits return_dict_in_generate synced_gpus trust_remote_code transformers_version "
        "compile_config disable_compile low_memory",
        "counts nothing",
    ),
    **_all(PASSES, "cache_config max_cache_len", "for caches that are refused"),
    **_all(
        PASSES,
        "assistant_tokenizer assistant_confidence_threshold assistant_ensemble_weight assistant_lookbehind "
        "target_lookbehind num_assistant_tokens num_assistant_tokens_schedule max_matching_ngram_size",
        "for assisted decoding, which is refused",
    ),
    **_all(REFUSED, "assistant_model prompt_lookup_num_tokens assistant_early_exit", _DRAFTS),
    **_all(REFUSED, "use_mtp is_assistant", _DRAFTS, False),
    **_all(REFUSED, "speculation_type", _DRAFTS),
    **_all(REFUSED, "prefill_chunk_size", "a chunk does not show the whole prompt"),
    **_all(REFUSED, "guidance_scale", "guidance runs a second prompt, without media, beside the first", 1),
    **_all(REFUSED, "negative_prompt_ids negative_prompt_attention_mask", "a second prompt has no layout"),
    **_all(REFUSED, "cache_implementation", "other caches cannot hold a pruned prompt", "dynamic"),
    **_all(REFUSED, "continuous_batching_config", "a paged cache cannot hold a pruned prompt"),
    **_all(REFUSED, "token_healing", "it runs `generate` on the prompt's text alone", False),
    **_all(REFUSED, "dola_layers constraints force_words_ids custom_generate", _ELSEWHERE),
    **_all(REFUSED, "penalty_alpha", _ELSEWHERE, 0),
    **_all(REFUSED, "num_beam_groups", _ELSEWHERE, 1),
    **_all(REFUSED, "debug_io", "it replaces the forwards that hooks wait for", False),
    **_all(REFUSED, "next_sequence_length is_first_iteration", _ITSELF),
}
"""What `generate` takes beside the arguments of forward: its own, and the fields of a `GenerationConfig`."""

FULL_MODEL: Mapping[str, Argument] = {
    **_all(TRANSLATED, "input_ids", "the thinker's"),
    **_all(PASSES, "use_audio_in_video", "the thinker's"),
    **_all(PASSES, "speaker return_audio generation_mode", "for the talker, which is given states of all columns"),
}
"""What `generate` of a full Omni model takes beside `thinker_...`, judged as the thinker's own, and `talker_...`."""

INSIDE: Mapping[str, Argument] = {
    **_all(TRANSLATED, "hidden_states inputs_embeds position_embeddings", "rows of the tokens that are left"),
    **_all(TRANSLATED, "visual_pos_masks deepstack_visual_embeds", "added by the adapter, to those that are left"),
    **{name: FORWARD[name] for name in ("attention_mask", "position_ids", "past_key_values", "cache", "use_cache")},
    **_all(PASSES, "input_ids", "used up before the first layer"),
}
"""What a decoder and its layers are called with, where that is not an argument of the model."""
