"""The model as a folder that transformers, SGLang and vLLM load: weights, configuration, tokenizer, preprocessor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration

from tiny_reader.model import CELL, DEVIATION, EPSILON, MEAN, PATCH, Reader, Shape
from tiny_reader.vocabulary import SPECIAL, Vocabulary

CONTEXT = 4096
MOST_CELLS = 512
SHARD = "16MB"

# Roles and images as in Qwen2-VL's own template; a text is taken as it is, a list of parts in its order.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}{{ '\\n' }}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}{%- for part in message.content -%}
{%- if part.type in ['image', 'image_url'] -%}<|vision_start|><|image_pad|><|vision_end|>
{%- elif 'text' in part -%}{{ part.text }}{%- endif -%}
{%- endfor -%}{%- endif -%}<|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant{{ '\\n' }}{%- endif -%}"""


def export(
    reader: Reader, vocabulary: Vocabulary, folder: Path, dtype: torch.dtype = torch.bfloat16
) -> Qwen2VLForConditionalGeneration:
    """Write the folder; the model that was written comes back."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Qwen2VLForConditionalGeneration(configuration(reader.shape, vocabulary))
    missing, unknown = made.load_state_dict(state_of(reader), strict=False)
    if unknown or set(missing) - {"lm_head.weight"}:
        raise ValueError(f"the model's weights are not Qwen2-VL's: {[*missing, *unknown]}")
    made.tie_weights()
    made.generation_config.eos_token_id = vocabulary.whole["<|im_end|>"]
    made.generation_config.pad_token_id = vocabulary.whole["<|endoftext|>"]
    made.to(dtype).save_pretrained(folder, max_shard_size=SHARD)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["vision_config"] |= {"in_chans": 3, "spatial_patch_size": PATCH}  # names that SGLang reads and nobody writes
    path.write_text(json.dumps(config, indent=1))
    tokenizer(vocabulary).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor(), indent=1))
    return made


def configuration(shape: Shape, vocabulary: Vocabulary) -> Qwen2VLConfig:
    token = vocabulary.whole
    text = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": EPSILON,
        "rope_parameters": {
            "type": "mrope",
            "rope_type": "default",
            "mrope_section": list(shape.sections),
            "rope_theta": shape.theta,
        },
        "bos_token_id": token["<|endoftext|>"],
        "eos_token_id": token["<|im_end|>"],
        "tie_word_embeddings": True,
    }
    vision = {
        "depth": shape.vision_layers,
        "embed_dim": shape.vision_width,
        "hidden_size": shape.hidden,
        "num_heads": shape.vision_heads,
        "mlp_ratio": 2,
        "patch_size": PATCH,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "in_channels": 3,
    }
    return Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token["<|image_pad|>"],
        video_token_id=token["<|video_pad|>"],
        vision_start_token_id=token["<|vision_start|>"],
        vision_end_token_id=token["<|vision_end|>"],
        tie_word_embeddings=True,
    )


def state_of(reader: Reader) -> dict[str, Tensor]:
    """The weights under transformers' names; a patch's gray weights are spread over three channels and two frames."""
    own: Mapping[str, Tensor] = reader.state_dict()
    out = {f"model.{name}": value for name, value in own.items() if name not in ("shift", "row_names", "visual.gray")}
    gray = reader.visual.gray.detach().view(-1, 1, 1, PATCH, PATCH)
    channels = torch.tensor(DEVIATION).view(1, 3, 1, 1, 1) / 6
    out["model.visual.patch_embed.proj.weight"] = (
        (gray * channels.to(gray.device)).expand(-1, 3, 2, PATCH, PATCH).clone()
    )
    return out


def tokenizer(vocabulary: Vocabulary) -> PreTrainedTokenizerFast:
    """Bytes without merges, then the special tokens, then the phrases."""
    made = Tokenizer(models.BPE(vocab={letter: byte for byte, letter in enumerate(byte_letters())}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    made.add_tokens([AddedToken(text, special=False, normalized=False) for text in vocabulary.phrases])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="<|im_end|>",  # noqa: S106 (a mark in a text, no password)
        pad_token="<|endoftext|>",  # noqa: S106
        model_max_length=CONTEXT,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def byte_letters() -> list[str]:
    """The letter that stands for each byte in byte-level vocabularies: itself where it can be seen, else a stand-in."""
    seen = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = iter(range(256, 512))
    return [chr(byte) if byte in seen else chr(next(hidden)) for byte in range(256)]


def preprocessor() -> dict[str, Any]:
    return {
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2VLProcessor",
        "min_pixels": 4 * CELL * CELL,
        "max_pixels": MOST_CELLS * CELL * CELL,
        "patch_size": PATCH,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": list(MEAN),
        "image_std": list(DEVIATION),
    }
