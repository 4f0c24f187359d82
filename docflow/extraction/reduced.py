"""A program that asks for some fields of a record only: what another program would, without the rest.

It can be made of a program that asks once for the whole record, in whatever words of its own; not of one that asks
several questions, or that decides by what was answered what it asks next.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

from docflow.documents.model import Page
from docflow.errors import DocflowError, ProgramError
from docflow.program import RECORD, Program, instructions_text, record_schema, schema_of


def reduced_program(program: Program, keys: Collection[str], pages: Sequence[Page]) -> Program | None:
    """The program that asks for these fields of the record alone, by their keys in the schema.

    None where none can be made that asks as ``program`` does about these pages.
    """
    if program.model is None or program.kinds:
        return None
    try:
        model = _reduced_model(program.model, keys)
        wanted = {key: leaf for key, leaf in program.schema["properties"].items() if key in keys}
        if record_schema(model)["properties"] != wanted:
            return None
        _asked(program, pages)
    except DocflowError:
        return None
    full = program.model

    def ask(s: Any, pages: Sequence[Page]) -> None:
        for piece in _asked(program, pages):
            s += _reduced(piece, full, model)

    return Program(program.name, ask, model, page_tokens=program.page_tokens)


def _reduced_model(model: type[BaseModel], keys: Collection[str]) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        key = info.validation_alias or info.alias or name
        if key in keys:
            fields[name] = (info.annotation, info)
    if len(fields) != len(keys):
        raise ProgramError(f"{model.__name__} names its fields in a way of its own")
    config = ConfigDict(arbitrary_types_allowed=model.model_config.get("arbitrary_types_allowed", False))
    made: type[BaseModel] = create_model(model.__name__, __config__=config, **fields)
    return made


class _Tape:
    """Stands in for a program's state: keeps what is added to it, and can do nothing else."""

    def __init__(self) -> None:
        self.pieces: list[Any] = []

    def __iadd__(self, piece: Any) -> _Tape:
        self.pieces.append(piece)
        return self


def _asked(program: Program, pages: Sequence[Page]) -> list[Any]:
    """What a program says and asks about these pages. Raises ProgramError where it is not one question."""
    from sglang.lang.ir import SglConstantText, SglGen, SglImage, SglRoleBegin, SglRoleEnd

    tape = _Tape()
    try:
        program.function(tape, pages)
    except Exception as error:  # the user's own function, which does more than a tape can take
        raise ProgramError(f"program {program.name} does more than ask once") from error
    pieces = list(_flat(tape.pieces))
    assert program.model is not None
    known = (str, SglConstantText, SglImage, SglRoleBegin, SglRoleEnd, SglGen)
    questions = [piece for piece in pieces if isinstance(piece, SglGen)]
    told = sum(instructions_text(program.model) in _text(piece) for piece in pieces)
    plain = all(isinstance(piece, known) for piece in pieces) and len(questions) == 1 and told == 1
    if not plain or (questions[0].name, questions[0].sampling_params.json_schema) != (RECORD, schema_of(program.model)):
        raise ProgramError(f"program {program.name} does more than ask once")
    return pieces


def _flat(pieces: Sequence[Any]) -> Iterator[Any]:
    from sglang.lang.ir import SglExprList

    for piece in pieces:
        if isinstance(piece, SglExprList):
            yield from _flat(piece.expr_list)
        else:
            yield piece


def _text(piece: Any) -> str:
    from sglang.lang.ir import SglConstantText

    if isinstance(piece, SglConstantText):
        piece = piece.value
    return piece if isinstance(piece, str) else ""


def _reduced(piece: Any, full: type[BaseModel], model: type[BaseModel]) -> Any:
    """A piece of what is asked, with the fields of ``model`` in place of those of ``full``."""
    from sglang.lang.ir import SglGen

    if isinstance(piece, SglGen):
        question = copy.copy(piece)
        question.sampling_params = copy.copy(piece.sampling_params)
        question.sampling_params.json_schema = schema_of(model)
        return question
    text = _text(piece)
    told = instructions_text(full)
    return text.replace(told, instructions_text(model)) if told in text else piece
