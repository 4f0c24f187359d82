"""The text layer: words exactly as printed, where they are displayed, and when it counts as one."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.pdfmetrics import registerFont, stringWidth
from reportlab.pdfgen.canvas import Canvas

from docflow.documents import Decoder, Page, Word, from_bytes
from docflow.documents.pdf import Pdf
from docflow.documents.pdf_words import Words
from docflow.documents.wire import COORDINATE_SCALE, Limits
from docflow.errors import BrokenDocument, LimitExceeded, UnsupportedDocument
from tests.unit.documents.made import drawn, pdf_page, stream

LIMITS = Limits(pixels=10_000_000, pages=50, page_points=14_400, words=1_000, decode_memory_mb=1_024)
A4 = (595.0, 842.0)


def words_of(data: bytes, limits: Limits = LIMITS) -> Words:
    pdf = Pdf(data, limits)
    try:
        return pdf.read(0).words
    finally:
        pdf.close()


def has_layer(data: bytes) -> bool:
    pdf = Pdf(data, LIMITS)
    try:
        return pdf.read(0).text_layer
    finally:
        pdf.close()


def boxes_of(words: Words) -> dict[str, tuple[float, ...]]:
    points = [edge / COORDINATE_SCALE for edge in words.boxes]
    return {text: tuple(points[4 * i : 4 * i + 4]) for i, text in enumerate(words.texts)}


def segments_of(words: Words) -> list[list[str]]:
    """The texts, segment by segment."""
    found: dict[int, list[str]] = {}
    for text, segment in zip(words.texts, words.segments, strict=True):
        found.setdefault(segment, []).append(text)
    return list(found.values())


def shown(text: bytes, *, at: bytes = b"20 150", font: bytes | None = None) -> bytes:
    content = b"BT /F1 12 Tf %b Td %b Tj ET" % (at, text)
    return pdf_page(content) if font is None else pdf_page(content, font=font)


# --- places


def test_words_stand_where_they_were_drawn() -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setFont("Helvetica", 12)
        canvas.drawString(20, 150, "Total HIGH")

    box = boxes_of(words_of(drawn(draw)))["HIGH"]
    left = 20 + stringWidth("Total ", "Helvetica", 12)
    right = left + stringWidth("HIGH", "Helvetica", 12)
    assert box[0] == pytest.approx(left, abs=1.5)
    assert box[2] == pytest.approx(right, abs=1.5)
    assert box[3] == pytest.approx(200 - 150, abs=0.3)  # the baseline, from the top
    assert box[1] == pytest.approx(200 - 150 - 0.72 * 12, abs=0.5)  # the height of capitals


def _dark_box(image: Image.Image, scale: float) -> tuple[float, ...]:
    box = image.convert("L").point(lambda value: 255 * (value < 128)).getbbox()
    assert box is not None
    return tuple(edge / scale for edge in box)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("media_box", [b"[0 0 300 200]", b"[-50 30 250 230]", b"[0 0 300 200]/CropBox[10 40 290 190]"])
def test_words_stand_where_the_rendered_page_shows_them(rotation: int, media_box: bytes) -> None:
    data = pdf_page(b"BT /F1 12 Tf 60 120 Td (WHERE) Tj ET", box=media_box, page=b"/Rotate %d" % rotation)
    with Decoder(workers=1, pdf_dpi=288) as decoder:
        (page,) = decoder.open(from_bytes(data)).pages
        image = page.render()
    (word,) = page.words
    assert page.rotation == rotation
    assert image.size == pytest.approx((page.width * 4, page.height * 4), abs=1)
    assert tuple(word.box) == pytest.approx(_dark_box(image, 4), abs=0.6)


def test_text_beyond_the_crop_box_is_not_on_the_page() -> None:
    data = pdf_page(
        b"BT /F1 12 Tf 60 120 Td (inside) Tj ET BT /F1 12 Tf 2 2 Td (outside) Tj ET", page=b"/CropBox[50 50 250 150]"
    )
    assert words_of(data).texts == ["inside"]


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(st.sampled_from(["Total", "12.50", "EUR", "a", "Überweisung"]), min_size=1, max_size=6),
    st.sampled_from([0, 90, 180, 270]),
)
def test_boxes_lie_on_the_page_and_words_in_order(texts: list[str], rotation: int) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setPageRotation(rotation)
        canvas.drawString(10, 100, " ".join(texts))

    words = words_of(drawn(draw, (500, 500)))
    assert words.texts == texts
    boxes = [words.boxes[i : i + 4] for i in range(0, len(words.boxes), 4)]
    for x0, y0, x1, y1 in boxes:
        assert 0 <= x0 < x1 <= 500 * COORDINATE_SCALE
        assert 0 <= y0 < y1 <= 500 * COORDINATE_SCALE


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_text_that_runs_sideways_is_levelled(turn: int) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.translate(150, 100)
        canvas.rotate(-turn)
        canvas.drawString(0, 0, "Invoice number 12345")

    with Decoder(workers=1) as decoder:
        (page,) = decoder.open(from_bytes(drawn(draw))).pages
    first, second, third = page.words
    for one, next_ in pairwise((first, second, third)):
        assert one.level_box.x1 < next_.level_box.x0
        assert one.level_box.y0 < next_.level_box.y1
        assert next_.level_box.y0 < one.level_box.y1
    assert {word.segment for word in page.words} == {0}
    assert (first.levelled is None) == (turn == 0)


# --- texts


def test_a_word_hyphenated_at_the_end_of_a_line_stays_as_printed() -> None:
    def draw(canvas: Canvas) -> None:
        lines = canvas.beginText(20, 150)
        for line in ("This is an exam-", "ple of it"):
            lines.textLine(line)
        canvas.drawText(lines)

    words = words_of(drawn(draw))
    assert words.texts == ["This", "is", "an", "exam-", "ple", "of", "it"]
    assert segments_of(words) == [["This", "is", "an", "exam-"], ["ple", "of", "it"]]


def _with_unicode(*mapping: tuple[int, str]) -> bytes:
    """A page that shows the codes of a mapping in a font that gives them these Unicode values."""
    lines = b"".join(b"<%02X> <%b>\n" % (code, text.encode("utf-16-be").hex().encode()) for code, text in mapping)
    table = (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def\n"
        b"1 begincodespacerange <00> <FF> endcodespacerange\n%d beginbfchar\n%bendbfchar\nendcmap end end"
    ) % (len(mapping), lines)
    codes = bytes(code for code, _ in mapping)
    return pdf_page(
        b"BT /F1 12 Tf 20 150 Td <%b> Tj ET" % codes.hex().encode(),
        font=b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/ToUnicode 5 0 R>>",
        more=(stream(table),),
    )


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ([(0x61, "a"), (0x62, "ﬁ"), (0x63, "n")], "afin"),
        ([(0x61, "ffi"), (0x62, "x")], "ffix"),
        ([(0x61, "𝟙"), (0x62, "b")], "𝟙b"),
        ([(0x61, "한"), (0x62, "국")], "한국"),
        ([(0x61, "é"), (0x62, "€")], "é€"),
        ([(0x61, "a"), (0x62, "\u200b"), (0x63, "c")], "ac"),
        ([(0x61, "a"), (0x62, "\u00ad"), (0x63, "c")], "a-c"),
    ],
)
def test_texts_are_exact(mapping: list[tuple[int, str]], text: str) -> None:
    words = words_of(_with_unicode(*mapping))
    assert "".join(words.texts) == text
    assert len(words.boxes) == 4 * len(words.texts)


def test_a_no_break_space_parts_words() -> None:
    assert words_of(_with_unicode((0x61, "1"), (0x62, "\u00a0"), (0x63, "2"))).texts == ["1", "2"]


def test_words_in_a_font_that_is_not_at_hand_have_a_height() -> None:
    registerFont(UnicodeCIDFont("HYSMyeongJo-Medium"))

    def draw(canvas: Canvas) -> None:
        canvas.setFont("HYSMyeongJo-Medium", 12)
        canvas.drawString(20, 100, "공급받는자 합계금액 12,500원")

    words = words_of(drawn(draw))
    assert words.texts == ["공급받는자", "합계금액", "12,500원"]
    assert all(6 < y1 - y0 < 24 for _, y0, _, y1 in boxes_of(words).values())
    assert segments_of(words) == [words.texts]


def test_columns_of_one_line_are_segments_of_their_own() -> None:
    data = pdf_page(b"BT /F1 12 Tf 20 150 Td [(Grand total)-9000(12.50 EUR)] TJ ET")
    assert segments_of(words_of(data)) == [["Grand", "total"], ["12.50", "EUR"]]


def test_pieces_drawn_one_by_one_are_one_word() -> None:
    content = b"".join(
        b"BT /F1 12 Tf %.2f 150 Td (%c) Tj ET " % (20 + stringWidth("Total"[:i], "Helvetica", 12), letter)
        for i, letter in enumerate(b"Total")
    )
    assert words_of(pdf_page(content)).texts == ["Total"]


def test_what_a_form_was_filled_in_with_is_text_and_is_rendered() -> None:
    field = (
        b"<</Type/Annot/Subtype/Widget/FT/Tx/T(name)/V(Erika Mustermann)/Rect[80 140 280 165]/F 4/P 3 0 R"
        b"/DA(/Helv 12 Tf 0 g)>>"
    )
    catalogue = b"/AcroForm<</Fields[5 0 R]/NeedAppearances true/DA(/Helv 12 Tf 0 g)/DR<</Font<</Helv %b>>>>>>" % (
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
    )
    data = pdf_page(b"BT /F1 12 Tf 20 150 Td (Name:) Tj ET", page=b"/Annots[5 0 R]", catalogue=catalogue, more=(field,))
    with Decoder(workers=1) as decoder:
        (page,) = decoder.open(from_bytes(data)).pages
        image = page.render()
    assert [word.text for word in page.words] == ["Name:", "Erika", "Mustermann"]
    scale = image.width / page.width
    erika = image.crop(tuple(round(edge * scale) for edge in page.words[1].box))  # type: ignore[arg-type]
    assert min(erika.convert("L").tobytes()) < 100


def test_fields_drawn_by_the_program_that_filled_them_in_are_text() -> None:
    def draw(canvas: Canvas) -> None:
        canvas.drawString(20, 105, "Greeting:")
        canvas.acroForm.textfield(name="n", x=80, y=100, width=150, height=20, value="Hello you")

    assert words_of(drawn(draw)).texts == ["Greeting:", "Hello", "you"]


# --- is it a text layer?


def scan() -> ImageReader:
    image = Image.new("L", (600, 850), 255)
    ImageDraw.Draw(image).text((100, 100), "scanned", fill=0)
    return ImageReader(image)


def lines(canvas: Canvas, count: int, *, mode: int = 0) -> None:
    text = canvas.beginText(50, 800)
    text.setTextRenderMode(mode)
    for number in range(count):
        text.textLine(f"line number {number} of this invoice")
    canvas.drawText(text)


def full_page_scan(canvas: Canvas) -> None:
    canvas.drawImage(scan(), 0, 0, *A4)


def with_stamp(canvas: Canvas) -> None:
    full_page_scan(canvas)
    canvas.drawString(50, 820, "FAX 2024-01-01 10:15 +49 30 123456 from the office of somebody or other, page 1 of 3")


def with_ocr(canvas: Canvas) -> None:
    full_page_scan(canvas)
    lines(canvas, 10, mode=3)


def in_strips(canvas: Canvas) -> None:
    for number in range(10):
        canvas.drawImage(scan(), 0, number * 84, A4[0], 84)
    canvas.drawString(500, 10, "7")


def logo_in_a_form(canvas: Canvas) -> None:
    canvas.beginForm("letterhead")
    canvas.drawImage(scan(), 0, 0, 60, 60)
    canvas.drawString(100, 700, "Letterhead")
    canvas.endForm()
    canvas.doForm("letterhead")


def scan_in_a_form(canvas: Canvas) -> None:
    canvas.beginForm("page")
    canvas.drawImage(scan(), 0, 0, 100, 100)
    canvas.endForm()
    canvas.scale(6, 8.5)
    canvas.doForm("page")
    canvas.drawString(5, 5, "7")


@pytest.mark.parametrize(
    ("draw", "layer"),
    [
        (lambda canvas: lines(canvas, 1), True),
        (logo_in_a_form, True),
        (with_ocr, True),
        (Canvas.showPage, False),
        (full_page_scan, False),
        (with_stamp, False),
        (in_strips, False),
        (scan_in_a_form, False),
    ],
)
def test_a_text_layer_is_text_that_says_what_the_page_shows(draw: Callable[[Canvas], None], layer: bool) -> None:
    assert has_layer(drawn(draw, A4)) is layer


def test_a_font_without_unicode_values_is_no_text_layer() -> None:
    cid = (
        b"<</Type/Font/Subtype/Type0/BaseFont/ABCDEF+Foo/Encoding/Identity-H/DescendantFonts[<</Type/Font"
        b"/Subtype/CIDFontType2/BaseFont/ABCDEF+Foo/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>"
        b"/FontDescriptor<</Type/FontDescriptor/FontName/ABCDEF+Foo/Flags 4/Ascent 800/Descent -200/CapHeight 700"
        b"/StemV 80/ItalicAngle 0/FontBBox[0 -200 1000 800]>>>>]>>"
    )
    assert not has_layer(shown(b"<00240025002600270028>", font=cid))


def test_private_use_characters_are_no_text_layer() -> None:
    assert not has_layer(_with_unicode((0x61, "\ue001"), (0x62, "\ue002"), (0x63, "x")))


# --- limits and damage


def test_more_words_than_allowed_are_refused_by_name_of_the_limit() -> None:
    data = drawn(lambda canvas: lines(canvas, 3), A4)
    limits = Limits(pixels=10_000_000, pages=50, page_points=14_400, words=17, decode_memory_mb=1_024)
    with pytest.raises(LimitExceeded, match=r"limits\.words"):
        words_of(data, limits)
    assert len(words_of(data).texts) == 18


def test_a_page_too_small_for_text_is_refused() -> None:
    with pytest.raises(UnsupportedDocument, match="1 x 1 points"):
        words_of(pdf_page(b"", box=b"[0 0 1 1]"))


def test_text_far_off_the_page_is_left_out() -> None:
    data = pdf_page(b"BT /F1 12 Tf 20 150 Td (near) Tj ET BT /F1 12 Tf 100000 100000 Td (far) Tj ET")
    assert words_of(data).texts == ["near"]


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=12))
def test_damage_anywhere_is_a_page_or_a_document_error(damage: list[tuple[float, int]]) -> None:
    data = bytearray(pdf_page(b"BT /F1 12 Tf 20 150 Td (Total 12.50) Tj ET"))
    for place, value in damage:
        data[int(place * len(data))] = value
    try:
        pdf = Pdf(bytes(data), LIMITS)
    except (BrokenDocument, UnsupportedDocument, LimitExceeded):
        return
    try:
        page = pdf.read(0)
        assert math.isfinite(page.width * page.height)
    except (BrokenDocument, UnsupportedDocument, LimitExceeded):
        pass
    finally:
        pdf.close()


def test_pages_of_one_document_may_differ() -> None:
    def draw(canvas: Canvas) -> None:
        lines(canvas, 6)
        canvas.showPage()
        full_page_scan(canvas)
        canvas.showPage()
        canvas.setPageSize((842, 842))
        lines(canvas, 2)

    with Decoder(workers=1) as decoder:
        pages = decoder.open(from_bytes(drawn(draw, A4))).pages
    assert [(page.number, page.unit, page.text_layer, page.width) for page in pages] == [
        (1, "pt", True, 595),
        (2, "pt", False, 595),
        (3, "pt", True, 842),
    ]
    _check_pages(pages)


def _check_pages(pages: tuple[Page, ...]) -> None:
    for page in pages:
        assert page.text_layer == bool(page.words)
        assert all(isinstance(word, Word) and word.score == 1.0 for word in page.words)
