"""Record models as Arrow types, and typed Python values as what those types hold.

Money and quantities are decimal128(24, 6): 18 digits before the point, 6 after it. Every leaf may be null, whatever
the model says: rows whose record is invalid are kept too.
"""

from __future__ import annotations

import collections.abc
import datetime as dt
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, PydanticUserError, RootModel, TypeAdapter

from docflow.errors import SchemaError

DECIMAL = pa.decimal128(24, 6)
_STEP = Decimal("0.000001")
_DECIMAL_END = Decimal(10) ** 18
_INT64_END = 2**63

# bool stands before int and datetime before date, because each is a subclass of the other.
_SCALARS: tuple[tuple[type, pa.DataType], ...] = (
    (Enum, pa.string()),
    (bool, pa.bool_()),
    (int, pa.int64()),
    (float, pa.float64()),
    (Decimal, DECIMAL),
    (dt.datetime, pa.timestamp("us")),
    (dt.date, pa.date32()),
    (dt.time, pa.time64("us")),
    (str, pa.string()),
)
_LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Set)


def record_type(model: type[BaseModel]) -> pa.DataType:
    """The struct that holds a record of ``model``. Raises SchemaError for a field that no Arrow type holds."""
    return _struct(model, model.__name__, ())


def _struct(model: type[BaseModel], path: str, inside: tuple[type, ...]) -> pa.DataType:
    if model in inside:
        raise SchemaError(f"{path}: a record cannot contain itself", hint="Use a list of flat items in its place.")
    fields = [
        pa.field(column, _type_of(model.model_fields[name].annotation, f"{path}.{column}", (*inside, model)))
        for name, column in _columns(model).items()
    ]
    if not fields:
        raise SchemaError(f"{path} has no fields", hint="A record needs at least one field to ask for.")
    return pa.struct(fields)


def _columns(model: type[BaseModel]) -> dict[str, str]:
    """The name of each field's column: the key that engines answer with, which evidence paths use too."""
    keys = {name: info.validation_alias or info.alias or name for name, info in model.model_fields.items()}
    return {name: key if isinstance(key, str) else name for name, key in keys.items()}


def _type_of(annotation: Any, path: str, inside: tuple[type, ...]) -> pa.DataType:
    """The Arrow type of one annotation."""
    if hasattr(annotation, "__supertype__"):  # typing.NewType
        return _type_of(annotation.__supertype__, path, inside)
    if hasattr(annotation, "__value__"):  # a type alias (Python 3.12's type statement, TypeAliasType)
        return _type_of(annotation.__value__, path, inside)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type_of(arguments[0], path, inside)
    if origin in (typing.Union, types.UnionType):
        return _one_of([_type_of(a, path, inside) for a in arguments if a is not type(None)])
    if origin is typing.Literal:
        return _one_of([_type_of(type(value), path, inside) for value in arguments if value is not None])
    if annotation in _LISTS or origin in _LISTS:
        item = arguments[0] if arguments else str
        return pa.list_(_type_of(item, f"{path}[]", inside))
    if isinstance(annotation, type):
        if issubclass(annotation, RootModel):
            return _type_of(annotation.model_fields["root"].annotation, path, inside)
        if issubclass(annotation, BaseModel):
            return _struct(annotation, path, inside)
        for python_type, arrow_type in _SCALARS:
            if issubclass(annotation, python_type):
                return arrow_type
    if _is_text(annotation):
        return pa.string()
    raise SchemaError(
        f"{path}: a field of type {getattr(annotation, '__name__', annotation)} cannot be stored",
        hint="Use text, numbers, dates, booleans, choices, nested models and lists of these.",
    )


def _one_of(options: list[pa.DataType]) -> pa.DataType:
    """The type that holds each of several: itself when they agree, the wider number, else text."""
    distinct = list(dict.fromkeys(options))
    if len(distinct) == 1:
        return distinct[0]
    if distinct and all(pa.types.is_integer(t) or pa.types.is_floating(t) for t in distinct):
        return pa.float64()
    if distinct and all(pa.types.is_integer(t) or pa.types.is_decimal(t) for t in distinct):
        return DECIMAL
    return pa.string()


def _is_text(annotation: Any) -> bool:
    """Types such as URLs and UUIDs are text in JSON, and so they are here."""
    try:
        return bool(TypeAdapter(annotation).json_schema().get("type") == "string") and annotation is not bytes
    except PydanticUserError:
        return False


# --- values -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Misfit:
    """A leaf whose value its Arrow type cannot hold."""

    path: str
    why: str


def fit(value: Any, to: pa.DataType, path: str, misfits: list[Misfit]) -> Any:
    """``value`` as Arrow takes it for ``to``; a leaf that does not fit becomes null and is noted in ``misfits``."""
    if isinstance(value, RootModel):
        value = value.root
    if value is None:
        return None
    if pa.types.is_struct(to):
        if isinstance(value, BaseModel):
            value = {column: getattr(value, name) for name, column in _columns(type(value)).items()}
        if isinstance(value, Mapping):
            prefix = f"{path}." if path else ""
            return {field.name: fit(value.get(field.name), field.type, prefix + field.name, misfits) for field in to}
        return _misfit(value, "is no group of fields", path, misfits)
    if pa.types.is_list(to):
        if isinstance(value, (list, tuple, set, frozenset)):
            return [fit(item, to.value_type, f"{path}[{i}]", misfits) for i, item in enumerate(value)]
        return _misfit(value, "is no list", path, misfits)
    if isinstance(value, Enum):
        value = value.value
    try:
        return _LEAVES[to](value)
    except (TypeError, ValueError, OverflowError, InvalidOperation) as error:
        return _misfit(value, str(error), path, misfits)


def _misfit(value: Any, why: str, path: str, misfits: list[Misfit]) -> None:
    shown = repr(value)
    misfits.append(Misfit(path, f"{shown[:60]}{'...' if len(shown) > 60 else ''} {why}"))


def text(value: str) -> str:
    """Text that UTF-8 can carry: half surrogates (from undecodable file names) become question marks."""
    return value.encode("utf-8", "replace").decode("utf-8")


def _text(value: Any) -> str:
    if isinstance(value, (Mapping, list, tuple, set, bytes)):
        raise TypeError("is no text")
    if isinstance(value, bool):
        return "true" if value else "false"
    return text(value if isinstance(value, str) else str(value))


def _decimal(value: Any) -> Decimal:
    if isinstance(value, float):
        value = repr(value)
    if isinstance(value, bool) or not isinstance(value, (Decimal, int, str)):
        raise TypeError("is no number")
    number = Decimal(value)
    if not number.is_finite():
        raise ValueError("is no number")
    if abs(number) >= _DECIMAL_END:
        raise OverflowError("has more than 18 digits before the point")
    exact = number.quantize(_STEP)  # 24 digits: within the precision of Python's default context
    if exact != number:
        raise OverflowError("has more than 6 digits after the point")
    return exact


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)) or value != int(value):
        raise TypeError("is no whole number")
    if not -_INT64_END <= value < _INT64_END:
        raise OverflowError("does not fit 64 bits")
    return int(value)


def _float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise TypeError("is no number")
    return float(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("is neither true nor false")
    return value


def _datetime(value: Any) -> dt.datetime:
    if not isinstance(value, dt.datetime):
        raise TypeError("is no date and time")
    return value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value


def _date(value: Any) -> dt.date:
    if isinstance(value, dt.datetime):
        return value.date()
    if not isinstance(value, dt.date):
        raise TypeError("is no date")
    return value


def _time(value: Any) -> dt.time:
    if not isinstance(value, dt.time):
        raise TypeError("is no time of day")
    return value.replace(tzinfo=None)


_LEAVES: dict[pa.DataType, typing.Callable[[Any], Any]] = {
    pa.string(): _text,
    pa.bool_(): _boolean,
    pa.int64(): _integer,
    pa.float64(): _float,
    DECIMAL: _decimal,
    pa.timestamp("us"): _datetime,
    pa.date32(): _date,
    pa.time64("us"): _time,
}


# --- types that meet ----------------------------------------------------------------------------------------------


def only_adds(old: pa.DataType, new: pa.DataType) -> str | None:
    """None when ``new`` holds everything that ``old`` does, else the path of the first field that clashes."""
    if pa.types.is_struct(old) and pa.types.is_struct(new):
        for field in old:
            if new.get_field_index(field.name) < 0:
                return str(field.name)
            inner = only_adds(field.type, new.field(field.name).type)
            if inner is not None:
                return f"{field.name}.{inner}" if inner else str(field.name)
        return None
    if pa.types.is_list(old) and pa.types.is_list(new):
        return only_adds(old.value_type, new.value_type)
    return None if old.equals(new) or pa.types.is_null(old) else ""


def merged(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds values of both: the fields of both structs, and text where two leaves disagree.

    None where one is a leaf and the other is not: such a field has no place in a common view.
    """
    if one.equals(other) or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        fields: dict[str, pa.DataType | None] = {field.name: field.type for field in one}
        for field in other:
            mine = fields.get(field.name)
            fields[field.name] = field.type if mine is None else merged(mine, field.type)
        return pa.struct([(name, inner) for name, inner in fields.items() if inner is not None])
    if pa.types.is_list(one) and pa.types.is_list(other):
        items = merged(one.value_type, other.value_type)
        return None if items is None else pa.list_(items)
    return None if pa.types.is_nested(one) or pa.types.is_nested(other) else pa.string()
