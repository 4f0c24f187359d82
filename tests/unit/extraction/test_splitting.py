"""A file that holds several documents: where an engine is asked for borders, and what becomes of its answers."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image, ImageDraw

from docflow.documents.model import Page
from docflow.engines.base import BEGINS, GOES_ON, Answer, Request, Usage, WantChoice
from docflow.engines.scripted import ScriptedEngine
from docflow.errors import EngineRefused, EngineUnavailable
from docflow.extraction.splitting import extract_parts, find_parts, is_blank
from docflow.settings import ExtractionSettings
from tests.unit.extraction.test_extract import BILL, answer
from tests.unit.pages import document_of, page_of

SPLIT = ExtractionSettings(split=True)


def pages(*texts: str) -> list[Page]:
    return [page_of([text] if text else [], number) for number, text in enumerate(texts, 1)]


def border(probability: float) -> Answer:
    text = BEGINS if probability > 0.5 else GOES_ON
    return Answer(text, choice_probs={BEGINS: probability, GOES_ON: 1 - probability})


def ranges(engine: ScriptedEngine, *texts: str, **settings: Any) -> list[tuple[int, int, float]]:
    parts, _ = find_parts(document_of(*pages(*texts)), engine, ExtractionSettings(split=True, **settings))
    return [(part.pages[0].number, part.pages[-1].number, part.confidence) for part in parts]


def test_borders_make_parts_as_sure_as_the_least_sure_answer_about_them() -> None:
    engine = ScriptedEngine([border(0.9), border(0.2), border(0.97)])
    assert ranges(engine, "A", "B", "B", "C") == [(1, 1, 0.9), (2, 3, 0.8), (4, 4, 0.97)]


def test_pages_are_asked_about_in_windows_that_overlap_by_one() -> None:
    engine = ScriptedEngine(default=border(0.1))
    assert ranges(engine, *"ABCDE", pages_per_call=3) == [(1, 5, 0.9)]
    shown = [[page.number for page in request.pages] for request in engine.requests]
    assert shown == [[1, 2], [1, 2, 3], [3, 4], [3, 4, 5]]
    assert all(isinstance(request.want, WantChoice) for request in engine.requests)


def test_a_window_of_one_page_is_asked_about_by_itself() -> None:
    engine = ScriptedEngine([border(0.1), border(0.9)])
    assert ranges(engine, *"AAB", pages_per_call=1) == [(1, 2, 0.9), (3, 3, 0.9)]
    assert [[page.number for page in request.pages] for request in engine.requests] == [[2], [3]]


def test_an_answer_without_probabilities_counts_as_sure() -> None:
    assert ranges(ScriptedEngine([Answer(BEGINS)]), "A", "B") == [(1, 1, 1.0), (2, 2, 1.0)]


def test_blank_pages_belong_to_no_document_unless_it_goes_on_after_them() -> None:
    engine = ScriptedEngine([border(0.1), border(0.9)])
    assert ranges(engine, "", "A", "", "A", "", "B", "") == [(2, 4, 0.9), (6, 6, 0.9)]
    parts, _ = find_parts(document_of(*pages("A", "", "A")), ScriptedEngine([border(0.1)]), SPLIT)
    assert [page.number for page in parts[0].pages] == [1, 2, 3]


def test_nothing_is_asked_about_a_single_page_or_a_file_of_blank_ones() -> None:
    engine = ScriptedEngine()
    assert ranges(engine, "A") == [(1, 1, 1.0)]
    assert ranges(engine, "", "") == [(1, 2, 1.0)]
    assert engine.requests == []


def test_the_cheap_engine_finds_the_borders_and_the_other_decides_where_it_is_unsure() -> None:
    cheap, engine = ScriptedEngine([border(0.99), border(0.6), border(0.02)]), ScriptedEngine([border(0.05)])
    settings = ExtractionSettings(split=True, cheap_first_below=0.8)
    parts, usage = find_parts(document_of(*pages(*"ABCD")), engine, settings, cheap=cheap)
    assert [len(part.pages) for part in parts] == [1, 3]
    assert [[page.number for page in request.pages] for request in engine.requests] == [[2, 3]]
    assert usage == Usage(calls=1)


def test_each_part_is_a_result_of_its_own_and_all_were_made_at_once() -> None:
    def reply(request: Request) -> Any:
        if isinstance(request.want, WantChoice):
            return border(0.9 if request.pages[-1].number == 3 else 0.1)
        return answer(seller=" ".join(word.text for page in request.pages for word in page.words))

    document = document_of(*pages("ACME", "ACME", "Brown"))
    results = extract_parts(document, BILL, ScriptedEngine(default=reply), SPLIT)
    assert [(one.first_page, one.last_page, one.split, one.split_confidence) for one in results] == [
        (1, 2, 2, 0.9),
        (3, 3, 2, 0.9),
    ]
    assert [one.data["seller"] for one in results if one.data] == ["ACME ACME", "Brown"]
    assert [[page.page for page in one.pages] for one in results] == [[1, 2], [3]]
    assert results[1].evidence[0].page == 3
    assert results[0].created_at == results[1].created_at
    assert [one.usage.calls for one in results] == [3, 1]


def test_a_file_that_is_not_split_is_one_result_of_all_its_pages() -> None:
    (result,) = extract_parts(
        document_of(*pages("A", "B")), BILL, ScriptedEngine(default=answer()), ExtractionSettings()
    )
    assert (result.first_page, result.last_page, result.split, result.split_confidence) == (1, 2, None, None)


@pytest.mark.parametrize("failure", [EngineUnavailable("gone"), "perhaps"])
def test_an_engine_that_cannot_tell_the_borders_fails_the_file_as_a_whole(failure: Any) -> None:
    (result,) = extract_parts(document_of(*pages("A", "B")), BILL, ScriptedEngine(default=failure), SPLIT)
    assert (result.status, result.split, result.first_page, result.last_page) == ("failed", 0, 1, 2)
    assert result.error is not None
    assert result.error.stage == "engine"


def scan(draw: Any = None, shade: int = 250) -> Page:
    image = Image.new("L", (600, 800), shade)
    if draw is not None:
        draw(ImageDraw.Draw(image))
    page = page_of(["unread"], text_layer=False)
    page.renderer = lambda _page, side, _pixels: image.resize((180, 240)) if side else image
    return page


@pytest.mark.parametrize(
    ("page", "blank"),
    [
        (scan(), True),
        (scan(shade=120), True),  # coloured paper
        (scan(lambda draw: draw.rectangle((0, 0, 12, 800), fill=10)), True),  # the shadow of a lid
        (scan(lambda draw: draw.text((200, 300), "shining through", fill=225, font_size=40)), True),
        (scan(lambda draw: draw.text((200, 300), "Total 12.50", fill=20, font_size=30)), False),
    ],
)
def test_a_page_without_ink_is_blank(page: Page, blank: bool) -> None:
    assert is_blank(page) == blank


def test_a_server_that_takes_fewer_pages_at_once_is_asked_about_fewer() -> None:
    def reply(request: Request) -> Answer:
        if len(request.pages) > 2:
            raise EngineRefused("at most 2 images")
        return border(0.9 if request.pages[-1].number == 3 else 0.1)

    engine = ScriptedEngine(default=reply)
    assert ranges(engine, "A", "A", "B", "B") == [(1, 2, 0.9), (3, 4, 0.9)]
    assert [len(request.pages) for request in engine.requests[-3:]] == [2, 2, 2]
