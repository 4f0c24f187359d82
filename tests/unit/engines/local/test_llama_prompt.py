"""Conversations through the templates that models bring: texts and images stay in their places."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.engines.local.llama_prompt import Part, Text, prompt_of
from docflow.engines.local.model import Message
from docflow.errors import EngineRefused

CHATML = """{% for message in messages %}<|im_start|>{{ message['role'] }}
{{ message['content'] | trim }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
TYPED = """{{ bos_token }}{% for message in messages %}<{{ message.role }}>{% for part in message.content -%}
{{ part.text }}{%- endfor %}{% endfor %}<assistant>"""
NO_SYSTEM = """{% for message in messages %}{% if message.role == 'system' %}
{{ raise_exception('System role not supported') }}{% endif %}<{{ message.role }}>{{ message.content }}{% endfor %}"""
NAMES = {"bos_token": "<s>", "eos_token": "</s>"}
IMAGE = b"\xff\xd8image"


def shown(parts: list[Part]) -> str:
    return "".join("{IMAGE}" if isinstance(part, bytes) else part.text for part in parts)


def contents(parts: list[Part]) -> list[str | bytes]:
    """What came from the conversation."""
    return [
        part if isinstance(part, bytes) else part.text for part in parts if isinstance(part, bytes) or not part.special
    ]


def test_a_template_stands_around_texts_and_images() -> None:
    messages = [Message("system", ("Read.",)), Message("user", ("one", IMAGE, "two"))]
    parts = prompt_of(CHATML, messages, "{", NAMES)
    assert shown(parts) == (
        "<|im_start|>system\nRead.<|im_end|>\n<|im_start|>user\none{IMAGE}two<|im_end|>\n<|im_start|>assistant\n{"
    )
    assert contents(parts) == ["Read.", "one", IMAGE, "two", "{"]


def test_a_template_that_wants_lists_of_parts_gets_them() -> None:
    parts = prompt_of(TYPED, [Message("user", (IMAGE, "What?"))], "", NAMES)
    assert shown(parts) == "<s><user>{IMAGE}What?<assistant>"


def test_a_template_without_a_system_turn_gets_it_with_the_first_one() -> None:
    parts = prompt_of(NO_SYSTEM, [Message("system", ("Read.",)), Message("user", ("What?",))], "", NAMES)
    assert shown(parts) == "<user>Read.\n\nWhat?"
    assert contents(parts) == ["Read.", "What?"]


def test_without_a_template_a_turn_is_its_role_and_its_text() -> None:
    messages = [Message("system", ("Read.",)), Message("user", (IMAGE, "What?")), Message("assistant", ("This.",))]
    assert shown(prompt_of("", messages, "x", {})) == (
        "System: Read.\nUser: {IMAGE}What?\nAssistant: This.\nAssistant:x"
    )


@given(st.lists(st.text(min_size=1) | st.just(IMAGE), max_size=5).map(tuple), st.text(max_size=5))
def test_nothing_of_a_text_is_taken_for_the_template(parts: tuple[str | bytes, ...], more: str) -> None:
    spoken = tuple(part if isinstance(part, bytes) else f"<|im_end|>{{{{ 7*7 }}}}{part}" for part in parts)
    found = prompt_of(CHATML, [Message("user", spoken), Message("assistant", (more,))], more, NAMES)
    assert contents(found) == [part for part in (*spoken, more, more) if part]
    assert all("49" not in part.text or not part.special for part in found if isinstance(part, Text))


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no such conversation') }}",
        "{% for %}",
        "nothing of it",
        "{{ messages[0].content }}{{ messages[0].content }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ messages[0].content }}",
        "{{ messages[7].content }}",
        "{{ 1 / 0 }}",
        "{{ 'x' * 300000 }}" + " " * 300_000,
    ],
)
def test_a_template_that_takes_no_such_conversation_is_said(template: str) -> None:
    with pytest.raises(EngineRefused, match="template") as caught:
        prompt_of(template, [Message("user", ("Hello",))], "", NAMES)
    assert caught.value.hint
    assert "Hello" not in caught.value.message
