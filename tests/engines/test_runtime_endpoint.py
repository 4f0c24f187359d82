"""Programs are plain SGLang functions: on a document of one page they run on upstream's own backend too."""

from __future__ import annotations

import json
from typing import Any, Literal

import jsonschema
import pytest
import sglang as sgl
from docflow.programs import load_program
from pydantic import BaseModel

from docflow.documents.model import Document
from docflow.program import Program, program_for


class Payment(BaseModel):
    """Fields that have few answers, so that random weights come to an end."""

    method: Literal["cash", "card", "transfer"] | None = None
    paid: bool | None = None


@pytest.fixture(scope="module")
def upstream(sglang_url: str) -> sgl.RuntimeEndpoint:
    # Without the name, upstream guesses the template from the path of the server's model.
    return sgl.RuntimeEndpoint(sglang_url, chat_template_name="qwen2-vl")


def run(program: Program, document: Document, upstream: sgl.RuntimeEndpoint, max_new_tokens: int) -> Any:
    # use_thread=False: in its own thread upstream turns a server's error into a KeyError on the variable.
    return program.sgl_function.run(
        document.pages, backend=upstream, use_thread=False, max_new_tokens=max_new_tokens, temperature=0
    )


def test_a_record_comes_back_as_json_of_the_schema(upstream: sgl.RuntimeEndpoint, receipt: Document) -> None:
    program = program_for(Payment, "payment")
    state = run(program, receipt, upstream, 64)
    jsonschema.validate(json.loads(state["record"]), program.schema)
    meta = state.get_meta_info("record")
    assert meta["finish_reason"]["type"] == "stop"
    assert meta["prompt_tokens"] > 300, "the page is part of what was asked"


@pytest.mark.parametrize("name", ["receipt", "invoice", "form"])
def test_a_built_in_program_is_answered_with_its_record(
    name: str, upstream: sgl.RuntimeEndpoint, receipt: Document
) -> None:
    program = load_program(name)
    state = run(program, receipt, upstream, 400)
    first = next(iter(program.schema["properties"]))
    assert state["record"].startswith(f'{{"{first}": '), state["record"][:80]
    if state.get_meta_info("record")["finish_reason"]["type"] == "stop":  # random weights seldom come to an end
        jsonschema.validate(json.loads(state["record"]), program.schema)


def test_a_program_that_chooses_a_kind_first_runs_too(upstream: sgl.RuntimeEndpoint, receipt: Document) -> None:
    auto = load_program("auto")
    state = run(auto, receipt, upstream, 16)
    chosen = auto.kind_named(state["kind"])
    assert state["record"].startswith(f'{{"{next(iter(chosen.schema["properties"]))}": ')


def test_the_instructions_before_a_second_page_come_from_the_cache(
    upstream: sgl.RuntimeEndpoint, open_sample: Any, receipt: Document
) -> None:
    program = program_for(Payment, "payment")
    run(program, receipt, upstream, 16)
    meta = run(program, open_sample("receipt-002.jpg"), upstream, 16).get_meta_info("record")
    assert meta["cached_tokens"] > 80, "the system text and the start of the user turn"
