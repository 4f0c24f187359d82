from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from docflow.cli.terminal import complain, printable


@given(st.text())
def test_no_text_can_steer_a_terminal(text: str) -> None:
    shown = printable(text)
    assert {unicodedata.category(char) for char in shown} & {"Cc", "Cs", "Zl", "Zp"} == set()
    assert not any(char in shown for char in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")
    shown.encode("utf-8")


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_ordinary_text_is_shown_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_escapes_say_what_stood_there() -> None:
    assert printable("a\x1b[31mb") == "a\\x1b[31mb"
    assert printable("line one\nline two\r\nthree\tfour") == "line one↵line two↵three four"
    assert printable("caf\udce9.png") == "caf\\xe9.png"
    assert printable("abc\u202egnp") == "abc\\u202egnp"
    assert printable("👩\u200d🔧") == "👩\u200d🔧"


def test_messages_keep_their_lines_and_escape_the_rest(capsys) -> None:
    complain("error", "the query does not run:\nLINE 1: \x1b[2J")
    assert capsys.readouterr().err == "error: the query does not run:\n       LINE 1: \\x1b[2J\n"
