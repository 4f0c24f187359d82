"""Programs by name, by path, or from a schema."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel

from docflow.errors import DocflowError, ProgramError
from docflow.program import Program, program_for
from docflow.schemas import model_of, read_schema

BUILT_IN = "docflow.programs"


def names() -> list[str]:
    """The names of the built-in programs."""
    return sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(BUILT_IN).__path__))


def load_program(
    spec: str | Program | type[BaseModel] | None = None, *, schema: str | None = None, name: str | None = None
) -> Program:
    """A program.

    ``spec`` is a built-in name, ``path/to/file.py:name``, ``package.module:name``, a Program, or a Pydantic model.
    ``schema`` is a JSON Schema file, or ``module:Model``. ``name`` renames the program (and so its rows).
    Raises ProgramError or SchemaError.
    """
    if (spec is None) == (schema is None):
        raise ProgramError("name a program or a schema, one of the two")
    loaded = _from_schema(schema, name) if schema is not None else _from_spec(spec)
    if name is not None and name != loaded.name:
        loaded = Program(name, loaded.function, loaded.model, loaded.kinds, loaded.json_schema)
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", loaded.name):
        raise ProgramError(
            f"{loaded.name!r} cannot name a program",
            hint="Use letters, digits, _ . and -; rows are filed in a folder of that name.",
        )
    for one in (*loaded.kinds, loaded):
        one.rules  # noqa: B018 (rules that are off are said now, not by every document)
    return loaded


def _from_spec(spec: str | Program | type[BaseModel] | None) -> Program:
    if isinstance(spec, Program):
        return spec
    if isinstance(spec, type) and issubclass(spec, BaseModel):
        return program_for(spec, _snake(spec.__name__))
    if not isinstance(spec, str):
        raise ProgramError(f"a {type(spec).__name__} is no program", hint="Give a name, a Program or a Pydantic model.")
    if ":" not in spec:
        if spec not in names():
            close = difflib.get_close_matches(spec, names(), 1)
            hint = f"Did you mean {close[0]!r}? " if close else ""
            raise ProgramError(
                f"there is no program {spec!r}",
                hint=f"{hint}Built in are {', '.join(names())}; yours is path/to/file.py:name or package.module:name.",
            )
        spec = f"{BUILT_IN}.{spec}:{spec}"
    found = _attribute(spec)
    if isinstance(found, Program):
        return found
    if isinstance(found, type) and issubclass(found, BaseModel):
        return program_for(found, _snake(found.__name__))
    raise ProgramError(
        f"{spec} is a {type(found).__name__}, not a program", hint="Decorate the function with @program(Model)."
    )


def _from_schema(schema: str, name: str | None) -> Program:
    if not schema.endswith(".json") and ":" in schema:
        return _from_spec(schema)
    path = Path(schema)
    document = read_schema(path)
    stem = re.sub(r"\.schema$", "", path.stem)
    chosen = name or re.sub(r"[^A-Za-z0-9_.-]", "_", stem) or "record"
    return program_for(model_of(document, chosen), chosen, json_schema=document)


def _attribute(spec: str) -> object:
    """What ``path/to/file.py:name`` or ``package.module:name`` names. Importing runs the user's own code."""
    where, _, attribute = spec.rpartition(":")
    try:
        module = _module_of_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except DocflowError:
        raise
    except ModuleNotFoundError as error:
        raise ProgramError(
            f"{where} cannot be imported: {error}", hint="Is it installed, or in the working directory?"
        ) from error
    except Exception as error:  # a user's module may raise anything while it is imported
        raise ProgramError(f"{where} raised {type(error).__name__} while it was imported: {error}") from error
    if not hasattr(module, attribute):
        programs = [key for key, value in vars(module).items() if isinstance(value, Program)]
        hint = (
            f"It has {', '.join(programs)}."
            if programs
            else "It has no program: decorate a function with @program(Model)."
        )
        raise ProgramError(f"{where} has no {attribute!r}", hint=hint)
    return inspect.getattr_static(module, attribute)


def _module_of_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ProgramError(f"there is no file {path}")
    name = f"docflow_user_{path.stem}_{abs(hash(path.resolve()))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ProgramError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Pydantic looks up a model's annotations there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
