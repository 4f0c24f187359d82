"""Writes a tiny Qwen2-VL with random weights, always the same ones, in the form that SGLang and vLLM load.

Runs in a server's environment: python make_model.py TOKENIZER_JSON FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration

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


def main(tokenizer_json: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=tokenizer_json, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)

    made = Qwen2VLForConditionalGeneration(config_for(tokenizer))
    spread(made)
    made.to(torch.bfloat16).save_pretrained(folder)

    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["vision_config"] |= {
        "in_chans": 3,
        "spatial_patch_size": 14,
    }  # names that SGLang reads and nobody writes now
    path.write_text(json.dumps(config, indent=1))
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))


def config_for(tokenizer: PreTrainedTokenizerFast) -> Qwen2VLConfig:
    def token(text: str) -> int:
        found = tokenizer.convert_tokens_to_ids(text)
        assert isinstance(found, int), text
        return found

    text = {
        "vocab_size": 151936,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,  # heads of 32: the smallest that vLLM's attention on CPU takes
        "max_position_embeddings": 32768,
        "rope_parameters": {
            "type": "mrope",
            "rope_type": "default",
            "mrope_section": [4, 6, 6],
            "rope_theta": 1000000.0,
        },
        "bos_token_id": token("<|endoftext|>"),
        "eos_token_id": token("<|im_end|>"),
        "tie_word_embeddings": True,
    }
    vision = {
        "depth": 2,
        "embed_dim": 64,
        "hidden_size": 64,
        "num_heads": 2,
        "mlp_ratio": 2,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "in_channels": 3,
    }
    return Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def spread(made: torch.nn.Module) -> None:
    """Weights so large that what was asked changes the answer; usual ones make every answer one token repeated."""
    with torch.no_grad():
        for name, weights in made.named_parameters():
            if name.endswith("embed_tokens.weight"):
                weights.normal_(0, 0.5)
            elif weights.dim() > 1:
                weights.normal_(0, 1.5 / weights[0].numel() ** 0.5)


PREPROCESSOR = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "processor_class": "Qwen2VLProcessor",
    "min_pixels": 4 * 28 * 28,
    "max_pixels": 512 * 28 * 28,
    "patch_size": 14,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
