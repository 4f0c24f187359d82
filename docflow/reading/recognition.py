"""The pixels of a page -> its words, with RapidOCR. Lives in the OCR worker only.

The steps are RapidOCR's own (detect, crop, classify the direction, recognise), driven one by one: between detection
and recognition the page is turned the right way up and levelled, and a word's box and score come from the columns
and probabilities of its own characters.
"""

from __future__ import annotations

import itertools
import statistics
import unicodedata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rapidocr
from numpy.typing import NDArray
from rapidocr.main import RapidOCRError

from docflow.reading import levelling
from docflow.reading.levelling import Affine, Points

Pixels = NDArray[np.uint8]
WordRow = list[Any]
"""Text, box, score, segment and the levelled box (or None), as they go over the pipe: boxes in pixels."""

LEAST_SCORE = 0.5
"""Lines below this are speckles and stamps rather than text (RapidOCR's own limit)."""
SKEW_TO_TELL = 0.1
"""Degrees of skew below which a page counts as level: less than a pixel over a word."""
DIRECTION_SAMPLE = 12
"""Lines that vote on whether the page stands on its head; asking all of them costs 3 % of a page's time."""
FEWEST_CHARACTERS = 0.7
"""Characters in a stretch as long as the line is high, below which a line was not read."""
BEST_SHAPE = 5.0
"""Width over height of a line of which the direction classifier is surest: it squeezes longer ones."""


class PageReader:
    """RapidOCR with its models loaded. Raises what RapidOCR and onnxruntime raise when they cannot be."""

    def __init__(self, threads: int, model: Path | None = None) -> None:
        cv2.setNumThreads(threads)
        wheel = Path(rapidocr.__file__).parent / "models"
        # With a path given, RapidOCR neither hashes its models nor ever looks for them on the network.
        params: dict[str, Any] = {
            "Global.log_level": "error",
            "Global.return_word_box": True,
            "Global.use_vertical_padding": False,
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "Det.model_path": str(model / "det.onnx" if model else wheel / "PP-OCRv6_det_small.onnx"),
            "Rec.model_path": str(model / "rec.onnx" if model else wheel / "PP-OCRv6_rec_small.onnx"),
            "Cls.model_path": str(wheel / "ch_ppocr_mobile_v2.0_cls_mobile.onnx"),
        }
        if model:
            params["Rec.rec_keys_path"] = str(model / "dict.txt")
        self._engine = rapidocr.RapidOCR(params=params)
        blank = np.full((64, 64, 3), 255, np.uint8)
        self._detect(blank)  # loads the detector; the recogniser and the classifier follow the same way
        self._engine.recognize_txt([blank])
        self._engine.cls_and_rotate([blank])

    def read(self, pixels: bytes, width: int, height: int) -> tuple[list[WordRow], float]:
        """The words of an RGB image, in the reading order of the levelled page, and the page's legibility."""
        image = cv2.cvtColor(np.frombuffer(pixels, np.uint8).reshape(height, width, 3), cv2.COLOR_RGB2BGR)
        image, to_page = _with_margin(image)
        quads, crops = self._detect(image)
        if len(quads) and levelling.is_sideways(quads):
            to_page = levelling.after(to_page, levelling.quarter_turn_back(image.shape[1]))
            image = np.ascontiguousarray(np.rot90(image))
            quads, crops = self._detect(image)
        if not len(quads):
            return [], 1.0
        lines, upside_down = self._recognise(quads, crops)
        level = levelling.rotation(
            (180.0 if upside_down else 0.0) - levelling.dominant_skew(quads), image.shape[1], image.shape[0]
        )[0]
        read = [line for line in lines if line.words and line.score >= LEAST_SCORE]
        return _rows(read, to_page, level, (width, height)), _legibility(lines)

    def _detect(self, image: Pixels) -> tuple[Points, list[Pixels]]:
        """The quads of the lines on an image, and their pixels; RapidOCR turns tall ones to the left."""
        try:
            crops, found = self._engine.detect_and_crop(image, {})
        except RapidOCRError:  # its way of saying that there is no text
            return np.empty((0, 4, 2)), []
        return np.asarray(found.boxes, np.float64), crops

    def _recognise(self, quads: Points, crops: list[Pixels]) -> tuple[list[_Line], bool]:
        """Read every line; also tells whether the page stood on its head."""
        along, across = levelling.sides(quads)
        tall = (across.astype(int) / np.maximum(along.astype(int), 1)) >= 1.5  # those that RapidOCR has turned
        usual = float(np.median(across[~tall])) if not tall.all() else 0.0
        for index in np.flatnonzero(tall):
            # A single narrow character (a quantity of 1) is no line that runs down the page.
            if across[index] < 1.7 * usual:
                crops[index] = np.ascontiguousarray(np.rot90(crops[index], -1))
                tall[index] = False

        page_turned = self._stands_on_its_head(along, across, tall, crops)
        turned = np.full(len(quads), page_turned)
        for index in np.flatnonzero(tall):  # a line across the others may run either way
            turned[index] = self._chance_of_head([crops[index]])[0] > 0.5
        for index in np.flatnonzero(turned):
            crops[index] = cv2.rotate(crops[index], cv2.ROTATE_180)

        found = self._engine.recognize_txt(crops)
        # The corners in the order in which the reader of the crop sees them.
        corners = [np.roll(quad, -(tall[i] + 2 * turned[i]), axis=0) for i, quad in enumerate(quads)]
        results = zip(found.txts, found.scores, found.word_results, corners, strict=True)
        return [_Line(*result) for result in results], page_turned

    def _stands_on_its_head(
        self, along: NDArray[np.float64], across: NDArray[np.float64], tall: NDArray[np.bool_], crops: list[Pixels]
    ) -> bool:
        """Whether the lines of the page are upside down, by those whose shape the classifier knows best."""
        level = np.flatnonzero(~tall)
        unlike = np.abs(np.log(np.maximum(along[level], 1) / np.maximum(across[level], 1) / BEST_SHAPE))
        asked = [crops[index] for index in level[np.argsort(unlike)][:DIRECTION_SAMPLE]]
        if not asked:
            return False
        chance = float(self._chance_of_head(asked).mean())
        if abs(chance - 0.5) > 0.3:
            return chance > 0.5
        # The classifier does not know: what reads better is the right way up.
        upright, turned = (
            float(np.mean(self._engine.recognize_txt(some).scores))
            for some in (asked, [cv2.rotate(crop, cv2.ROTATE_180) for crop in asked])
        )
        return turned > upright

    def _chance_of_head(self, crops: list[Pixels]) -> NDArray[np.float64]:
        """For each line the classifier's probability that it is upside down."""
        _, found = self._engine.cls_and_rotate(crops)
        return np.array([score if label == "180" else 1 - score for label, score in found.cls_res])


class _Line:
    """One recognised line as words: text, mean score of its characters, corners."""

    __slots__ = ("characters", "quad", "score", "words")

    def __init__(self, text: str, score: float, info: Any, quad: Points) -> None:
        self.score = score
        self.quad = quad
        # A line without a character has one score, of 0.
        characters = [(char, score) for char, score in zip(text, info.confs, strict=False) if not char.isspace()]
        self.characters = len(characters)
        # The recogniser cuts a line into columns; a character stands in the middle of its column.
        middles = [(column + 0.5) / info.line_txt_len for columns in info.word_cols for column in columns]
        self.words: list[tuple[str, float, Points]] = []
        along, across = levelling.sides(quad[None])
        borders = [0, *_borders(text, middles, float(along[0] / max(across[0], 1))), len(middles)]
        for start, end in itertools.pairwise(borders):
            word = "".join(char for char, _ in characters[start:end])
            if word:
                begin, stop = _extent(middles, start, end)
                score = sum(score for _, score in characters[start:end]) / len(word)
                self.words.append((fold_widths(word), score, levelling.part_of(quad, begin, stop)))


def _borders(text: str, middles: list[float], shape: float) -> list[int]:
    """Before which characters (spaces not counted) a new word begins. ``shape`` is the line's length over its height.

    The recogniser often leaves out the space in "2024-05-06 14:55": a gap twice as wide as usual parts words too,
    where one of its sides is no letter. In print it takes more to part letters, as some fonts set them wide.
    """
    plain = "".join(text.split())
    spaces = set(itertools.accumulate(len(word) for word in text.split()))
    steps = [(after - before) * shape for before, after in itertools.pairwise(middles)]  # in line heights
    inside = [step for place, step in enumerate(steps, 1) if place not in spaces]
    usual = statistics.median(inside) if len(inside) >= 3 else float("inf")
    found = []
    for place, step in enumerate(steps, 1):
        letters = plain[place - 1].isalpha() and plain[place].isalpha()
        wide = step >= 0.9 and step >= 2.9 * usual if letters else step >= 0.6 and step >= 1.9 * usual
        if place in spaces or wide:
            found.append(place)
    return found


def _extent(middles: list[float], start: int, end: int) -> tuple[float, float]:
    """Where a word of the characters from start to end begins and ends, from the middles of a line's characters."""
    first, last = middles[start], middles[end - 1]
    if end - start > 1:
        half = (last - first) / (end - start - 1) / 2
    else:  # as wide as the line's other characters
        half = (middles[-1] - middles[0]) / max(len(middles) - 1, 1) / 2 or 0.5
    before = (middles[start - 1] + first) / 2 if start else 0.0
    behind = (middles[end] + last) / 2 if end < len(middles) else 1.0
    return max(first - half, before), min(last + half, behind)


def _legibility(lines: list[_Line]) -> float:
    """The share of the text, by length, that was read. Faint lines count in part.

    What the recogniser has no characters for it mostly leaves out, so a line with fewer characters than it is long
    was not read: printed text of any script has more than one in a stretch as long as the line is high.
    """
    total = read = 0.0
    for line in lines:
        along, across = (float(side[0]) for side in levelling.sides(line.quad[None]))
        if along < 3 * across:
            continue
        total += along
        if line.characters * across >= FEWEST_CHARACTERS * along:
            read += along * min(1.0, max(0.0, (line.score - 0.5) / 0.4))
    return read / total if total else 1.0


def _with_margin(image: Pixels) -> tuple[Pixels, Affine]:
    """The image with white beside it where it is a mere strip: the detector scales the short side up to 736 pixels."""
    height, width = image.shape[:2]
    least = max(64, max(height, width) // 4)
    left, top = max(0, least - width) // 2, max(0, least - height) // 2
    if left or top:
        image = cv2.copyMakeBorder(image, top, top, left, left, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    return image, levelling.shift(-left, -top)


def _rows(lines: list[_Line], to_page: Affine, level: Affine, size: tuple[int, int]) -> list[WordRow]:
    """Words with their boxes on the page and on the levelled page, in reading order."""
    order = levelling.reading_order([levelling.upright(levelling.mapped(level, line.quad)) for line in lines])
    # On a page that was neither turned nor askew the levelled boxes would say nothing new.
    moved = float(np.abs(levelling.after(level, levelling.inverse(to_page))[:, :2] - np.eye(2)).max()) > np.radians(
        SKEW_TO_TELL
    )
    rows: list[WordRow] = []
    for segment, index in enumerate(order):
        for text, score, quad in lines[index].words:
            x0, y0, x1, y1 = levelling.upright(levelling.mapped(to_page, quad))
            box = [max(x0, 0.0), max(y0, 0.0), min(x1, size[0]), min(y1, size[1])]
            place = [round(v, 2) for v in levelling.upright(levelling.mapped(level, quad))] if moved else None
            rows.append([text, [round(v, 2) for v in box], round(score, 4), segment, place])
    return rows


class _Widths(dict[int, str]):
    """Full-width, half-width and vertical forms -> the usual character, worked out when first met."""

    def __missing__(self, code: int) -> str:
        form, _, usual = unicodedata.decomposition(chr(code)).partition("> ")
        plain = form in ("<wide", "<narrow", "<small", "<vertical")
        self[code] = "".join(chr(int(part, 16)) for part in usual.split()) if plain else chr(code)
        return self[code]


_widths = _Widths()


def fold_widths(text: str) -> str:
    """Full-width brackets and digits as the usual ones. Unlike NFKC this keeps what fractions and powers mean."""
    return text if text.isascii() else unicodedata.normalize("NFC", text.translate(_widths))
