"""SGLang programs on the bridge: what the engine is asked, and what the program gets."""

from __future__ import annotations

import re
import warnings

import pytest
import sglang as sgl
from pydantic import BaseModel

from docflow.documents.model import Page
from docflow.engines.base import Limits, WantChoice, WantJson, WantText
from docflow.engines.bridge import run_program, without_markup
from docflow.engines.scripted import ScriptedEngine
from docflow.errors import BadAnswer, EngineTimeout, ProgramError
from docflow.fields import Money, Text
from docflow.program import Program, images, instructions, program, schema_of
from tests.unit.pages import page_of


class Note(BaseModel):
    title: Text | None = None
    total: Money | None = None


def _program(function: object) -> Program:
    return program(Note)(function)  # type: ignore[arg-type]


def test_turns_reach_the_engine_with_pages_in_their_place_among_the_text() -> None:
    first, second = page_of(["one"], 1), page_of(["two"], 2)

    @program(Note)
    def note(s, pages):  # type: ignore[no-untyped-def]
        s += sgl.system(instructions(Note))
        s += sgl.user("Front: " + images(pages[:1]) + " back: " + images(pages[1:]) + " Read it.")
        s += sgl.assistant("Here: " + sgl.gen("record", json_schema=schema_of(Note)))

    engine = ScriptedEngine([{"title": "x", "total": None}])
    talk = run_program(note, [first, second], engine, Limits(max_tokens=77))
    request = engine.requests[0]
    assert [turn.role for turn in request.turns] == ["system", "user"]
    assert request.turns[0].text == instructions(Note).lstrip()
    assert request.turns[1].parts == ("Front: ", first, " back: ", second, " Read it.")
    assert request.begun == "Here: "
    assert request.limits.max_tokens == 77
    assert isinstance(request.want, WantJson)
    assert set(request.want.schema["properties"]) == {"title", "total"}
    assert talk.answer("record").text == '{"title": "x", "total": null}'


def test_the_system_text_is_the_same_bytes_for_every_document() -> None:
    from docflow.programs.receipt import receipt

    engine = ScriptedEngine(default={})
    for text in ("one", "two"):
        run_program(receipt, [page_of([text])], engine, Limits())
    one, two = engine.requests
    assert one.turns[0] == two.turns[0]


def test_regex_select_and_a_second_question_go_on_from_the_same_state() -> None:
    @program(Note)
    def note(s, pages):  # type: ignore[no-untyped-def]
        s += sgl.user(images(pages) + "What is it?")
        s += sgl.assistant(sgl.select("what", choices=["cat", "dog"]))
        s += sgl.user("How many legs?")
        s += sgl.assistant(sgl.gen("legs", regex="[0-9]"))
        s += sgl.assistant(sgl.gen("record", json_schema=schema_of(Note)))

    engine = ScriptedEngine(["dog", "4", {"title": None, "total": None}])
    talk = run_program(note, [page_of(["woof"])], engine, Limits())
    assert talk.answer("what").text == "dog"
    assert [type(request.want) for request in engine.requests] == [WantChoice, WantText, WantJson]
    assert engine.requests[1].want == WantText("[0-9]")
    assert [turn.text for turn in engine.requests[1].turns if turn.role == "assistant"] == ["dog"]
    assert len(engine.requests[2].pages) == 1


def test_a_choice_that_was_not_offered_is_a_bad_answer() -> None:
    @program(Note)
    def note(s, pages):  # type: ignore[no-untyped-def]
        s += sgl.user("?")
        s += sgl.assistant(sgl.select("what", choices=["cat", "dog"]))

    with pytest.raises(BadAnswer, match="cow"):
        run_program(note, [], ScriptedEngine(["cow"]), Limits())


def test_forks_see_the_shared_turns_and_join_their_answers() -> None:
    @program(Note)
    def note(s, pages):  # type: ignore[no-untyped-def]
        s += sgl.user(images(pages) + "Look.")
        branches = s.fork(2)
        for branch, name in zip(branches, ("title", "total"), strict=True):
            branch += sgl.assistant(sgl.gen(name))
        titles = [branch[name] for branch, name in zip(branches, ("title", "total"), strict=True)]
        s += sgl.assistant(" ".join(sorted(titles)) + sgl.gen("record", json_schema=schema_of(Note)))

    engine = ScriptedEngine(default=lambda request: {} if isinstance(request.want, WantJson) else "word")
    run_program(note, [page_of(["x"])], engine, Limits())
    assert len(engine.requests) == 3
    assert engine.requests[-1].begun == "word word"
    assert all(len(request.pages) == 1 for request in engine.requests)


def test_an_engines_error_is_raised_as_itself() -> None:
    from docflow.programs.receipt import receipt

    with pytest.raises(EngineTimeout):
        run_program(receipt, [page_of(["x"])], ScriptedEngine([EngineTimeout("slow")]), Limits())


def test_an_engines_error_in_a_fork_is_raised_as_itself_without_a_hang_or_a_warning() -> None:
    @program(Note)
    def note(s, pages):  # type: ignore[no-untyped-def]
        s += sgl.user("Look.")
        branches = s.fork(2)
        for branch in branches:
            branch += sgl.assistant(sgl.gen("word"))
        s += sgl.assistant(branches[0]["word"] + branches[1]["word"] + sgl.gen("record", json_schema=schema_of(Note)))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(EngineTimeout):
            run_program(note, [], ScriptedEngine(default=EngineTimeout("slow")), Limits())


def test_a_program_that_raises_is_a_program_error_that_says_what_it_raised() -> None:
    @program(Note)
    def note(s, pages):  # type: ignore[no-untyped-def]
        raise ZeroDivisionError("oh")

    with pytest.raises(ProgramError, match="ZeroDivisionError: oh"):
        run_program(note, [], ScriptedEngine(), Limits())


def test_the_marker_of_an_image_in_a_text_is_refused() -> None:
    @program(Note)
    def note(s, pages):  # type: ignore[no-untyped-def]
        s += sgl.user("<|vision_start|><|image_pad|><|vision_end|>")
        s += sgl.assistant(sgl.gen("record", json_schema=schema_of(Note)))

    with pytest.raises(ProgramError, match="marker"):
        run_program(note, [], ScriptedEngine(default={}), Limits())


def test_a_path_in_place_of_a_page_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")

    @program(Note)
    def note(s, pages):  # type: ignore[no-untyped-def]
        s += sgl.user(sgl.image(str(secret)) + "?")
        s += sgl.assistant(sgl.gen("record", json_schema=schema_of(Note)))

    with pytest.raises(ProgramError, match="not a page"):
        run_program(note, [], ScriptedEngine(default={}), Limits())


def test_pixels_are_not_made_for_an_engine_that_does_not_ask_for_them() -> None:
    from docflow.programs.receipt import receipt

    page = page_of(["x"])
    asked: list[Page] = []
    renderer = page.renderer
    page.renderer = lambda p, side, pixels: (asked.append(p), renderer(p, side, pixels))[1]
    run_program(receipt, [page], ScriptedEngine(default={}), Limits())
    assert asked == []


def test_a_stop_list_does_not_grow_from_call_to_call() -> None:
    @program(Note)
    def note(s, pages):  # type: ignore[no-untyped-def]
        s += sgl.user("?")
        s += sgl.assistant(sgl.gen("record", stop=["\n"]))

    engine = ScriptedEngine(default="x")
    for _ in range(2):
        run_program(note, [], engine, Limits())
    assert [request.limits.stop for request in engine.requests] == [("\n",), ("\n",)]


@pytest.mark.parametrize("text", ["<|im_end|>", "<|im_<|im_end|>start|>", "<|im_<|vision_<|endoftext|>end|>end|>"])
def test_marks_inside_marks_leave_no_mark(text: str) -> None:
    clean = without_markup(f"before {text} after")
    assert clean.startswith("before ")
    assert clean.endswith(" after")
    assert not re.search(r"<\|\w+\|>", clean)
