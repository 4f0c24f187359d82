"""Images as llama.cpp's models read them: a projector turns each into what stands among the tokens of the text."""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from docflow.engines.local.llama_library import last_words, library, not_opened
from docflow.engines.local.llama_prompt import Part
from docflow.errors import BrokenModel, EngineError, EngineRefused

_MOST_PIXELS = 64_000_000
_TEXT_CHUNK = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a prompt as the model reads it: one token, or an image, which has a place in llama.cpp's memory.

    ``positions`` is how far it moves on; an image of M-RoPE models takes fewer positions than tokens.
    """

    key: object
    tokens: int
    positions: int
    token: int = -1
    image: Any = None


class Eyes:
    """A projector, opened beside the model it belongs to."""

    def __init__(self, path: str, model: Any, *, gpu: bool, threads: int) -> None:
        self._mtmd = library().mtmd
        settings = self._mtmd.mtmd_context_params_default()
        settings.use_gpu = gpu
        settings.print_timings = False
        settings.warmup = False
        settings.n_threads = threads
        self._made = self._mtmd.mtmd_init_from_file(os.fsencode(path), model, settings)
        if not self._made:
            raise not_opened(path)
        if not self._mtmd.mtmd_support_vision(self._made):
            self.close()
            raise BrokenModel(f"{path} reads no images", hint="Name the projector (mmproj) that reads images.")

    def close(self) -> None:
        """Give it back. May be called twice."""
        if self._made:
            self._mtmd.mtmd_free(self._made)
        self._made = None

    @contextmanager
    def chunks_of(self, parts: Sequence[Part], begun: Callable[[list[int]], list[int]]) -> Iterator[list[Chunk]]:
        """A prompt as chunks, as long as the context lasts; ``begun`` puts the token that begins a text before others.

        Raises EngineRefused for an image that cannot be shown.
        """
        mtmd = self._mtmd
        bitmaps: list[Any] = []
        chunks = mtmd.mtmd_input_chunks_init()
        try:
            kept: list[Any] = []
            pointers = (ctypes.POINTER(mtmd.mtmd_input_part) * len(parts))()
            for at, part in enumerate(parts):
                if isinstance(part, bytes):
                    bitmaps.append(self._bitmap(part))
                    made = mtmd.mtmd_input_part(text=None, bitmap=bitmaps[-1])
                else:
                    raw = part.text.encode("utf-8", "replace")
                    text = mtmd.mtmd_input_text(raw, len(raw), False, part.special)
                    kept.append(text)
                    made = mtmd.mtmd_input_part(text=ctypes.pointer(text), bitmap=None)
                kept.append(made)
                pointers[at] = ctypes.pointer(made)
            if mtmd.mtmd_tokenize_from_parts(self._made, chunks, pointers, len(parts), False):
                raise EngineRefused(f"the images cannot be shown to the model: {last_words()}")
            yield self._read_chunks(chunks, begun)
        finally:
            mtmd.mtmd_input_chunks_free(chunks)
            for bitmap in bitmaps:
                mtmd.mtmd_bitmap_free(bitmap)

    def read(self, chunk: Chunk, context: Any, position: int, batch: int) -> None:
        """Read an image into a context, at a position. Raises EngineError."""
        after = ctypes.c_int32(position)
        if self._mtmd.mtmd_helper_eval_chunk_single(
            self._made, context, chunk.image, position, 0, batch, False, ctypes.byref(after)
        ):
            raise EngineError(f"llama.cpp could not read the image: {last_words()}")

    def _read_chunks(self, chunks: Any, begun: Callable[[list[int]], list[int]]) -> list[Chunk]:
        mtmd = self._mtmd
        found: list[Chunk] = []
        texts: list[int] = []
        for at in range(mtmd.mtmd_input_chunks_size(chunks)):
            chunk = mtmd.mtmd_input_chunks_get(chunks, at)
            if mtmd.mtmd_input_chunk_get_type(chunk) == _TEXT_CHUNK:
                count = ctypes.c_size_t()
                tokens = mtmd.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
                texts = list(tokens[: count.value])
                if not found:
                    texts = begun(texts)
                found += map(token_chunk, texts)
                continue
            if not found:
                found += map(token_chunk, begun([]))
            tokens = int(mtmd.mtmd_input_chunk_get_n_tokens(chunk))
            name = mtmd.mtmd_input_chunk_get_id(chunk)
            found.append(Chunk((name, tokens), tokens, int(mtmd.mtmd_input_chunk_get_n_pos(chunk)), image=chunk))
        return found

    def _bitmap(self, data: bytes) -> Any:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as image:
                width, height = image.size
                if width * height > _MOST_PIXELS:
                    raise EngineRefused(f"an image of {width} x {height} is too large for a model")
                pixels = image.convert("RGB").tobytes()
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise EngineRefused("an image cannot be read", hint="Images are JPEG, PNG or WebP.") from error
        bitmap = self._mtmd.mtmd_bitmap_init(width, height, (ctypes.c_uint8 * len(pixels)).from_buffer_copy(pixels))
        self._mtmd.mtmd_bitmap_set_id(bitmap, hashlib.sha256(data).hexdigest().encode())
        return bitmap


def token_chunk(token: int) -> Chunk:
    """A token as a piece of a prompt."""
    return Chunk(token, 1, 1, token=token)
