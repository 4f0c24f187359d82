"""Schemas and regular expressions as grammars: what a grammar lets through is what the expression matches."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from docflow.engines.chat import choice_regex
from docflow.engines.local.llama_grammar import grammar_of, schema_grammar
from docflow.engines.local.llama_regex import MOST_REPEATS, regex_grammar
from docflow.engines.local.model import JsonForm, RegexForm
from docflow.engines.wire import wire_regex, wire_schema
from docflow.errors import SchemaError
from tests.unit.engines.local.gbnf import accepts

_NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=6)
_SCALARS = st.one_of(
    st.sampled_from(["string", "boolean", "number", "integer", "null"]).map(lambda name: {"type": name}),
    st.lists(st.sampled_from(["string", "boolean", "number", "integer", "null"]), min_size=1, unique=True).map(
        lambda names: {"type": names}
    ),
    st.lists(st.one_of(_NAMES, st.integers(-9, 99), st.booleans(), st.none()), min_size=1, max_size=4).map(
        lambda choices: {"enum": choices}
    ),
)


def _wider(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        st.dictionaries(_NAMES, inner, min_size=1, max_size=3).map(lambda fields: {"properties": fields}),
        inner.map(lambda item: {"type": "array", "items": item}),
        st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options}),
    )


SCHEMAS = st.recursive(_SCALARS, _wider, max_leaves=6).map(wire_schema)


@st.composite
def _values(draw: st.DrawFn, schema: dict[str, Any]) -> Any:
    if "anyOf" in schema:
        return draw(_values(draw(st.sampled_from(schema["anyOf"]))))
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    if "properties" in schema:
        return {key: draw(_values(child)) for key, child in schema["properties"].items()}
    if "items" in schema:
        return draw(st.lists(_values(schema["items"]), max_size=3))
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    made: dict[str, st.SearchStrategy[Any]] = {
        "string": st.text(st.characters(exclude_categories=("Cs",)), max_size=5),
        "boolean": st.booleans(),
        "number": st.floats(allow_nan=False, allow_infinity=False),
        "integer": st.integers(),
        "null": st.none(),
    }
    return draw(made[draw(st.sampled_from(kinds))])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@st.composite
def _changed(draw: st.DrawFn, text: str) -> str:
    """A text with a character of it left out, put in or replaced."""
    at = draw(st.integers(0, len(text)))
    width = draw(st.integers(0, 1))
    return (
        text[:at] + draw(st.sampled_from(["", '"', "\\", ",", "}", "0", " ", "\n", "é", "null"])) + text[at + width :]
    )


@given(st.data())
def test_the_grammar_of_a_schema_takes_its_json_and_nothing_else(data: st.DataObject) -> None:
    schema = data.draw(SCHEMAS)
    grammar, expression = schema_grammar(schema), re.compile(wire_regex(schema))
    text = _json(data.draw(_values(schema)))
    assert accepts(grammar, text)
    other = data.draw(_changed(text))
    assert accepts(grammar, other) == (expression.fullmatch(other) is not None)


@given(st.data())
def test_the_expression_of_a_schema_becomes_the_same_grammar(data: st.DataObject) -> None:
    schema = data.draw(SCHEMAS)
    grammar = regex_grammar(wire_regex(schema))
    text = _json(data.draw(_values(schema)))
    assert accepts(grammar, text)


@given(st.lists(_NAMES, min_size=1, max_size=5), _NAMES)
def test_the_grammar_of_choices_takes_each_and_no_other(choices: list[str], other: str) -> None:
    grammar = grammar_of(RegexForm(choice_regex(choices)))
    assert all(accepts(grammar, choice) for choice in choices)
    assert accepts(grammar, other) == (other in choices)


def _escaped(letter: str) -> str:
    return "\\" + letter if letter in r"\^$.|?*+()[]{}/-" else letter


_LETTERS = st.sampled_from(list("ab01 -.^$[]\\é\n\"'{}/_")) | st.characters(exclude_categories=("Cs",))
_IN_CLASS = st.one_of(
    _LETTERS.map(_escaped),
    st.tuples(_LETTERS, _LETTERS).map(lambda both: "-".join(_escaped(one) for one in sorted(both))),
    st.sampled_from([r"\d", r"\w", r"\s", r"\x00-\x1f", r"\u00e9", r"\n"]),
)
_ATOMS = st.one_of(
    _LETTERS.map(_escaped),
    st.tuples(st.sampled_from(["[", "[^"]), st.lists(_IN_CLASS, min_size=1, max_size=3)).map(
        lambda made: made[0] + "".join(made[1]) + "]"
    ),
    st.sampled_from([".", r"\d", r"\D", r"\w", r"\S", r"\x41", r"\t"]),
)
_REPEATS = st.sampled_from(["", "*", "+", "?", "{2}", "{0,2}", "{1,}", "{,2}", "{0}"])


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.tuples(st.lists(inner, min_size=1, max_size=3), st.sampled_from(["(", "(?:"]), _REPEATS).map(
            lambda made: made[1] + "|".join(made[0]) + ")" + made[2]
        ),
    )


_PATTERNS = st.recursive(st.tuples(_ATOMS, _REPEATS).map("".join), _grown, max_leaves=5)


@given(st.data())
@settings(max_examples=50)
def test_the_grammar_of_an_expression_takes_what_the_expression_matches(data: st.DataObject) -> None:
    pattern = data.draw(_PATTERNS)
    try:
        grammar = regex_grammar(pattern)
    except SchemaError as error:
        if "repeats what may be empty" not in error.message:
            raise
        assume(False)
    expression = re.compile(pattern, re.ASCII)
    matching = data.draw(st.from_regex(expression, fullmatch=True))
    assert accepts(grammar, matching)
    for other in (data.draw(_changed(matching)), data.draw(st.text("ab01 -.é\n", max_size=4))):
        assert accepts(grammar, other) == (expression.fullmatch(other) is not None)


@given(st.text(st.sampled_from(list(r"ab\(){}[]|*+?^$.,-:<!=P19xuéd")), max_size=12))
def test_any_text_is_a_grammar_or_is_refused(pattern: str) -> None:
    try:
        grammar = regex_grammar(pattern)
    except SchemaError:
        return
    try:
        expression = re.compile(pattern, re.ASCII)
    except re.error:
        return
    for text in ("", "a", "ab", "ba", "1", pattern):
        assert accepts(grammar, text) == (expression.fullmatch(text) is not None)


@pytest.mark.parametrize(
    "pattern",
    [
        "(?=a)b",
        r"(a)\1",
        "a*?",
        "(?P<name>a)",
        "a**",
        "(a",
        "a)",
        "[a",
        "*a",
        r"\p{L}",
        "(a*)*",
        r"\ud800",
        "a\\",
        f"a{{{MOST_REPEATS + 1}}}",
        "((a{,40}){,40}){,40}",
        "a{2,1}",
        "(" * 101 + "a" + ")" * 101,
    ],
)
def test_what_a_grammar_cannot_say_is_refused(pattern: str) -> None:
    with pytest.raises(SchemaError) as caught:
        regex_grammar(pattern)
    assert "llama.cpp" in caught.value.message
    assert caught.value.hint


def test_texts_of_a_schema_share_a_rule() -> None:
    fields = {f"field_{number}": {"type": ["string", "null"]} for number in range(40)}
    grammar = grammar_of(JsonForm(wire_schema({"properties": fields})))
    assert len(grammar) < 2500
    assert grammar.count("letter*") == 1


def test_lists_in_lists_do_not_double_the_grammar() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(12):
        schema = {"properties": {"inner": {"type": "array", "items": schema}}}
    grammar = schema_grammar(wire_schema(schema))
    assert len(grammar) < 3000
    assert accepts(grammar, '{"inner":[' * 12 + '"a","b"' + "]}" * 12)
