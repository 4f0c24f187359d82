"""What a GGUF model takes of memory, worked out from its files' metadata."""

from __future__ import annotations

from collections.abc import Sequence

from docflow.engines.local.gguf_file import GgufFile

MOST_CONTEXT = 16_384
"""Tokens of a conversation where nothing else is said: some of ten pages. The cache of more would take gigabytes."""
MOST_EMBEDDED = 2048
"""Tokens of a text to embed: it is read in one go, in memory that grows with their square."""
BATCH = 512
"""Tokens that are read at once."""
_ARCHITECTURES_THAT_EMBED = ("bert", "nomic-bert", "jina-bert-v2", "neo-bert", "modern-bert", "gemma-embedding")
_RANK = 4
_BYTES_OF_VALUE = 2  # keys and values are kept as 16-bit floats


def embeds(model: GgufFile) -> bool:
    """Whether it is a model for embeddings: its file says how the tokens' vectors become one."""
    return model.architecture in _ARCHITECTURES_THAT_EMBED or model.number("pooling_type") > 0


def ranks(model: GgufFile) -> bool:
    """Whether it judges how well two texts go together, and gives neither texts nor vectors."""
    return model.number("pooling_type") == _RANK


def context_of(model: GgufFile, wanted: int) -> int:
    """Tokens of a conversation: as many as wanted, else as the model was trained with, within reason."""
    trained = model.number("context_length", 4096)
    return wanted or max(1, min(trained, MOST_EMBEDDED if embeds(model) else MOST_CONTEXT))


def bytes_needed(parts: Sequence[GgufFile], projector: GgufFile | None, wanted_context: int) -> int:
    """Bytes for the weights, the cache of a whole context, and what a batch is worked out in."""
    weights = sum(part.tensor_bytes for part in parts) + (projector.tensor_bytes if projector else 0)
    context = context_of(parts[0], wanted_context)
    return weights + cache_bytes(parts[0], context) + _work_bytes(parts[0], context)


def cache_bytes(model: GgufFile, context: int) -> int:
    """The keys and values of a full context, at least: a layer that looks back over a window keeps no more."""
    layers = model.number("block_count")
    if any(key.startswith(f"{model.architecture}.ssm.") for key in model.metadata):
        return 0  # a state of fixed size, in some layers or all
    compressed = model.number("attention.kv_lora_rank")
    if compressed:
        return layers * context * (compressed + model.number("rope.dimension_count")) * _BYTES_OF_VALUE
    window = model.numbers("attention.sliding_window")
    if window and max(window) > 0:
        context = min(context, max(window))
    heads = model.numbers("attention.head_count")
    width = model.number("embedding_length") // max((1, *heads))
    both = model.number("attention.key_length", width) + model.number("attention.value_length", width)
    shared = model.numbers("attention.head_count_kv") or heads
    all_heads = sum(shared[:layers]) if len(shared) > 1 else layers * sum(shared)
    return context * all_heads * both * _BYTES_OF_VALUE


def _work_bytes(model: GgufFile, context: int) -> int:
    """What one batch takes: each token's activations, and a row of scores over the vocabulary."""
    width = max(model.number("feed_forward_length"), *model.numbers("feed_forward_length"), 1)
    batch = context if embeds(model) else min(BATCH, context)
    return batch * (4 * width + 4 * model.number("embedding_length")) * 4
