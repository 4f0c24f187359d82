"""Schemas as grammars of llama.cpp (GBNF): JSON without white space, keys in their order. Pure.

The schemas are those that ``docflow.engines.wire.wire_schema`` gives, and the texts that a grammar lets through are the
same that ``wire_regex`` does. Texts and numbers are rules of their own, so that a schema of forty texts stays short.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from docflow.engines.local.llama_regex import literal, regex_grammar
from docflow.engines.local.model import Form, JsonForm

_RULES = {
    "string": r'"\"" letter* "\""',
    "letter": r'[^\x22\x5C\x00-\x1F] | "\\" ([\x22\x5C/bfnrt] | "u" hex hex hex hex)',
    "hex": "[0-9a-fA-F]",
    "boolean": '"true" | "false"',
    "null": '"null"',
    "integer": '"-"? ("0" | [1-9] [0-9]*)',
    "number": 'integer ("." [0-9]+)? ([eE] [-+]? [0-9]+)?',
}


def grammar_of(form: Form) -> str:
    """The grammar of what is wanted. Raises SchemaError for an expression that cannot be said in one."""
    return schema_grammar(form.schema) if isinstance(form, JsonForm) else regex_grammar(form.pattern)


def schema_grammar(schema: Mapping[str, Any]) -> str:
    """The grammar whose texts are the JSON of a wire schema."""
    rules: dict[str, str] = {}
    rules = {"root": _body(schema, rules), **rules, **_RULES}
    return "".join(f"{name} ::= {body}\n" for name, body in rules.items())


def _body(node: Mapping[str, Any], rules: dict[str, str]) -> str:
    if "anyOf" in node:
        return " | ".join(_item(option, rules) for option in node["anyOf"])
    if "enum" in node:
        return " | ".join(_json(choice) for choice in node["enum"])
    if "properties" in node:
        return _object(node["properties"], rules)
    if "items" in node:
        item = _item(node["items"], rules)
        if item.startswith("("):  # a rule: it is written twice here, and lists may stand in lists
            rules[name := f"item{len(rules)}"] = item
            item = name
        return f'"[" ({item} ("," {item})*)? "]"'
    types = [node["type"]] if isinstance(node["type"], str) else node["type"]
    return " | ".join(types)


def _item(node: Mapping[str, Any], rules: dict[str, str]) -> str:
    body = _body(node, rules)
    return body if body in _RULES else f"({body})"


def _object(properties: Mapping[str, Any], rules: dict[str, str]) -> str:
    members: list[str] = []
    begun = "{"
    for key, child in properties.items():
        begun += json.dumps(key, ensure_ascii=False) + ":"
        members += [literal(begun), _item(child, rules)]
        begun = ","
    return " ".join([*members, literal("}")])


def _json(value: Any) -> str:
    return literal(json.dumps(value, ensure_ascii=False))
