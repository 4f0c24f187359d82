"""Writes tiny GGUF models with random weights, always the same ones: one that writes, one that reads images, one that
embeds.

Runs in the environment of llama.cpp: python make_gguf.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import numpy as np

CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}{{ '\\n' }}{{ message.content }}<|im_end|>{{ '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant{{ '\\n' }}{%- endif -%}"""
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
MERGES = ["t o", "to t", "a l", "tot al", "i n", "e r", "n u", "nu l", "nul l"]
WIDTH, LAYERS, HEADS, KV_HEADS, INNER, CONTEXT = 64, 2, 2, 1, 128, 4096
EYES, EYE_LAYERS, EYE_HEADS, PATCH = 64, 2, 2, 14
NORMAL, CONTROL = 1, 3


class Weights:
    """Adds tensors to a file, with random values that are the same every time."""

    def __init__(self, writer: gguf.GGUFWriter, seed: int) -> None:
        self.writer, self.random = writer, np.random.default_rng(seed)

    def matrix(self, name: str, *shape: int, spread: float = 0.0) -> None:
        """Rows of the output first. As large as keeps the sums alike, unless said otherwise."""
        spread = spread or shape[-1] ** -0.5 * 1.5
        self.writer.add_tensor(name, (self.random.standard_normal(shape) * spread).astype(np.float32))

    def ones(self, name: str, length: int) -> None:
        self.writer.add_tensor(name, np.ones(length, np.float32))

    def shift(self, name: str, length: int) -> None:
        self.writer.add_tensor(name, (self.random.standard_normal(length) * 0.1).astype(np.float32))

    def norm(self, name: str, length: int) -> None:
        self.ones(f"{name}.weight", length)
        self.shift(f"{name}.bias", length)

    def linear(self, name: str, out: int, into: int) -> None:
        self.matrix(f"{name}.weight", out, into)
        self.shift(f"{name}.bias", out)


def byte_letters() -> list[str]:
    """The letters by which byte-level vocabularies write the 256 bytes."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {byte: chr(byte) for byte in shown}
    others = (chr(0x100 + number) for number in range(256))
    return [letters.get(byte) or next(others) for byte in range(256)]


def add_vocabulary(writer: gguf.GGUFWriter) -> int:
    """Every byte, some whole words and the special tokens, as Qwen2's vocabulary has them. Its size."""
    tokens = [*byte_letters(), *(merge.replace(" ", "") for merge in MERGES), *SPECIAL]
    kinds = [NORMAL] * (len(tokens) - len(SPECIAL)) + [CONTROL] * len(SPECIAL)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    return len(tokens)


def write_text_model(path: Path, architecture: str, seed: int) -> None:
    """A model that writes: ``llama``, or ``qwen2vl`` with the positions that images need."""
    writer = gguf.GGUFWriter(path, architecture)
    head = WIDTH // HEADS
    writer.add_name(path.stem)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10_000.0)
    writer.add_rope_dimension_count(head)
    sees = architecture == "qwen2vl"
    if sees:
        writer.add_rope_dimension_sections([4, 6, 6, 0])
    size = add_vocabulary(writer)
    weights = Weights(writer, seed)
    weights.matrix("token_embd.weight", size, WIDTH, spread=1.0)
    for layer in range(LAYERS):
        name = f"blk.{layer}"
        weights.ones(f"{name}.attn_norm.weight", WIDTH)
        for part, width in (("q", WIDTH), ("k", head * KV_HEADS), ("v", head * KV_HEADS)):
            weights.matrix(f"{name}.attn_{part}.weight", width, WIDTH)
            if sees:
                weights.shift(f"{name}.attn_{part}.bias", width)
        weights.matrix(f"{name}.attn_output.weight", WIDTH, WIDTH)
        weights.ones(f"{name}.ffn_norm.weight", WIDTH)
        weights.matrix(f"{name}.ffn_gate.weight", INNER, WIDTH)
        weights.matrix(f"{name}.ffn_up.weight", INNER, WIDTH)
        weights.matrix(f"{name}.ffn_down.weight", WIDTH, INNER)
    weights.ones("output_norm.weight", WIDTH)
    weights.matrix("output.weight", size, WIDTH, spread=0.4)
    finish(writer)


def write_projector(path: Path, seed: int) -> None:
    """The part of Qwen2-VL that turns images into what its text model reads."""
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_name(path.stem)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", "qwen2vl_merger")
    writer.add_bool("clip.use_gelu", False)
    writer.add_bool("clip.use_silu", False)
    vision = {
        "image_size": 560,
        "patch_size": PATCH,
        "embedding_length": EYES,
        "feed_forward_length": 2 * EYES,
        "projection_dim": WIDTH,
        "block_count": EYE_LAYERS,
        "attention.head_count": EYE_HEADS,
    }
    for key, value in vision.items():
        writer.add_uint32(f"clip.vision.{key}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    writer.add_array("clip.vision.image_mean", [0.48, 0.46, 0.41])
    writer.add_array("clip.vision.image_std", [0.27, 0.26, 0.28])
    weights = Weights(writer, seed)
    for name in ("v.patch_embd.weight", "v.patch_embd.weight.1"):
        weights.matrix(name, EYES, 3, PATCH, PATCH, spread=0.1)
    for layer in range(EYE_LAYERS):
        name = f"v.blk.{layer}"
        for norm in ("ln1", "ln2"):
            weights.norm(f"{name}.{norm}", EYES)
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            weights.linear(f"{name}.{part}", EYES, EYES)
        weights.linear(f"{name}.ffn_up", 2 * EYES, EYES)
        weights.linear(f"{name}.ffn_down", EYES, 2 * EYES)
    weights.norm("v.post_ln", EYES)
    weights.linear("mm.0", 4 * EYES, 4 * EYES)
    weights.linear("mm.2", WIDTH, 4 * EYES)
    finish(writer)


def write_embedder(path: Path, seed: int) -> None:
    """A BERT: looks both ways, gives a text's vector as the mean of its tokens'."""
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name(path.stem)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-6)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,-:"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    special = len(tokens)
    tokens += [*(f"\u2581{letter}" for letter in letters), *letters, "\u2581total", "\u2581receipt"]
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL] * special + [NORMAL] * (len(tokens) - special))
    writer.add_token_type_count(2)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_sep_token_id(3)
    writer.add_mask_token_id(4)
    weights = Weights(writer, seed)
    weights.matrix("token_embd.weight", len(tokens), WIDTH, spread=1.0)
    weights.matrix("token_types.weight", 2, WIDTH, spread=0.1)
    weights.matrix("position_embd.weight", 128, WIDTH, spread=0.3)
    weights.norm("token_embd_norm", WIDTH)
    for layer in range(LAYERS):
        name = f"blk.{layer}"
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights.linear(f"{name}.{part}", WIDTH, WIDTH)
        weights.norm(f"{name}.attn_output_norm", WIDTH)
        weights.linear(f"{name}.ffn_up", INNER, WIDTH)
        weights.linear(f"{name}.ffn_down", WIDTH, INNER)
        weights.norm(f"{name}.layer_output_norm", WIDTH)
    finish(writer)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text_model(folder / "tiny-text.gguf", "llama", 1)
    write_text_model(folder / "tiny-vl.gguf", "qwen2vl", 2)
    write_projector(folder / "mmproj-tiny-vl.gguf", 3)
    write_embedder(folder / "tiny-embed.gguf", 4)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
