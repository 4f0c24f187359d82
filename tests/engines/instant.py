"""A server that speaks as SGLang or vLLM does and answers at once, whatever it is asked.

    python -m tests.engines.instant --port 30000 --kind sglang

Its answers conform to the JSON schema, the regular expression or the choice that a request names: a value given by
name, else null where that is allowed. It shows what a client does, and costs; it says nothing of any model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from re import _compiler, _parser  # type: ignore[attr-defined]
from typing import Any, Literal

from tests.engines.loopback import LoopbackServer, Received, response

Kind = Literal["sglang", "vllm"]

ROOT = Path(__file__).parents[2]

CHOSEN_PROB = 0.7
"""How probable the choice is that gets taken; the others share the rest."""
TOKEN_PROB = 0.95
CHARACTERS_A_TOKEN = 4
IMAGE_TOKENS = 256
IMPOSSIBLE = {"sglang": -3.4028234663852886e38, "vllm": -9999.0}
"""The log probability of a token that the grammar does not allow, as each server writes it."""
END = "<|im_end|>"


class InstantServer(LoopbackServer):
    """Answers after ``seconds``. ``values`` are the answers by the name of a property; ``choose`` goes before others.

    ``requests`` are the generations that it was asked for.
    """

    def __init__(
        self,
        kind: Kind = "sglang",
        *,
        port: int = 0,
        model: str = "tiny",
        seconds: float = 0.0,
        context: int = 32_768,
        values: Mapping[str, Any] | None = None,
        choose: str = "",
        keep: bool = True,
    ) -> None:
        super().__init__(port)
        self.kind, self.model, self.context = kind, model, context
        self.seconds, self.values, self.choose = seconds, dict(values or {}), choose
        self.requests: list[Received] = []
        self._keep = keep

    async def handle(self, request: Received, writer: Any) -> None:
        if request.method == "POST" and request.path == "/v1/chat/completions":
            if self._keep:
                self.requests.append(request)
            if self.seconds:
                await asyncio.sleep(self.seconds)
            writer.write(self.chat(request.json()))
        elif request.path == "/v1/models":
            writer.write(response(200, self._models()))
        elif request.path in ("/health", "/health_generate"):
            writer.write(response(200, b""))
        elif request.path in ("/model_info", "/get_model_info") and self.kind == "sglang":
            writer.write(response(200, self._model_info()))
        elif request.path == "/version" and self.kind == "vllm":
            writer.write(response(200, {"version": "0.32.0"}))
        else:
            writer.write(response(404, {"detail": "Not Found"}))

    def _models(self) -> dict[str, Any]:
        model = {
            "id": self.model,
            "object": "model",
            "created": int(time.time()),
            "owned_by": self.kind,
            "root": self.model,
            "parent": None,
            "max_model_len": self.context,
        }
        return {"object": "list", "data": [model]}

    def _model_info(self) -> dict[str, Any]:
        return {
            "model_path": self.model,
            "served_model_name": self.model,
            "tokenizer_path": self.model,
            "is_generation": True,
            "has_image_understanding": True,
            "model_type": "qwen2_vl",
            "weight_version": "default",
        }

    def chat(self, body: Mapping[str, Any]) -> bytes:
        """The whole response to a chat request."""
        if self.kind == "vllm" and body.get("model") != self.model:  # SGLang answers to any name
            message = f"The model `{body.get('model')}` does not exist. Valid aliases: {self.model}."
            return response(404, self.error(404, message, "NotFoundError", "model"))
        prompt = prompt_tokens(body["messages"])
        if prompt > self.context:
            message = f"The input ({prompt} tokens) is longer than the model's context length ({self.context} tokens)."
            return response(400, self.error(400, message))
        choices = choices_of(body)
        if choices:
            text = self.choose if self.choose in choices else choices[0]
            pieces = [text]
        else:
            text = self._text(body)
            pieces = re.findall(r"\w+|\s+|[^\w\s]+", text)
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or self.context
        cut = len(pieces) > limit
        pieces = pieces[:limit]
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": "".join(pieces)},
            "logprobs": self._logprobs(body, pieces, choices) if body.get("logprobs") else None,
            "finish_reason": "length" if cut else "stop",
        }
        usage = {
            "prompt_tokens": prompt,
            "total_tokens": prompt + len(pieces) + 1,
            "completion_tokens": len(pieces) + 1,
            "prompt_tokens_details": {"cached_tokens": 0},
        }
        answer = {
            "id": "chatcmpl-0",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body.get("model", self.model),
            "choices": [choice],
            "usage": usage,
        }
        return response(200, answer)

    def error(self, code: int, message: str, kind: str = "BadRequestError", param: str | None = None) -> dict[str, Any]:
        """An error as this kind of server words it."""
        said = {"message": message, "type": kind, "param": param, "code": code}
        return {"error": said} if self.kind == "vllm" else {"object": "error", **said}

    def _text(self, body: Mapping[str, Any]) -> str:
        schema = schema_of(body)
        if schema is not None:
            spaced = (", ", ": ") if self.kind == "sglang" else (",", ":")
            return json.dumps(self._value(schema, schema), ensure_ascii=False, separators=spaced)
        regex = body.get("regex") or (body.get("structured_outputs") or {}).get("regex")
        if regex:
            text = shortest(regex)
            if not text.startswith("{"):
                return text
            data = json.loads(text)  # a schema as a regular expression, which allows no white space
            data |= {name: value for name, value in self.values.items() if name in data}
            filled = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
            return filled if re.fullmatch(regex, filled) else text
        return "This is a document."

    def _value(self, node: Mapping[str, Any], root: Mapping[str, Any], name: str = "") -> Any:
        """A value that the schema allows: the one given by ``name``, else null, else the least there is."""
        if "$ref" in node:
            return self._value(root["$defs"][node["$ref"].rsplit("/", 1)[-1]], root, name)
        options = node.get("anyOf") or node.get("oneOf")
        types = node.get("type", [])
        types = [types] if isinstance(types, str) else types
        if "properties" in node:
            return {key: self._value(child, root, key) for key, child in node["properties"].items()}
        if "items" in node:
            item = self._value(node["items"], root, name)
            count = node.get("minItems", 0) or (0 if _is_blank(item) else 1)
            return [item] * count
        if name in self.values:
            return self.values[name]
        if "const" in node:
            return node["const"]
        if "enum" in node:
            return None if None in node["enum"] else node["enum"][0]
        if options:
            shaped = [option for option in options if option.get("type") != "null"]
            if len(shaped) < len(options) and not any("properties" in option or "$ref" in option for option in shaped):
                return None
            return self._value(shaped[0], root, name)
        if "null" in types:
            return None
        return {"boolean": False, "integer": 0, "number": 0, "object": {}, "array": []}.get("".join(types[:1]), "")

    def _logprobs(self, body: Mapping[str, Any], pieces: Sequence[str], choices: Sequence[str]) -> dict[str, Any]:
        most = body.get("top_logprobs") or 0
        content = []
        for piece in pieces:
            prob = CHOSEN_PROB if len(choices) > 1 else TOKEN_PROB
            others = [choice for choice in choices if choice != piece]
            rest = math.log((1 - prob) / len(others)) if others else 0.0
            top = [_token(piece, math.log(prob)), *(_token(other, rest) for other in others)]
            top += [_token("!", IMPOSSIBLE[self.kind])]
            content.append({**top[0], "top_logprobs": top[:most]})
        ended = _token(END, 0.0)
        content.append({**ended, "top_logprobs": [ended, _token("!", IMPOSSIBLE[self.kind])][:most]})
        return {"content": content}


def shortest(regex: str) -> str:
    """A text that a regular expression matches: with as little as it allows, and ``null`` where that is a choice."""
    return _shortest(_parser.parse(regex))


def _shortest(nodes: Any) -> str:
    text = ""
    for operation, given in nodes:
        match str(operation):
            case "LITERAL":
                text += chr(given)
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                text += given[0] * _shortest(given[2])
            case "SUBPATTERN":
                text += _shortest(given[3])
            case "BRANCH":
                options = [_shortest(option) for option in given[1]]
                text += "null" if "null" in options else options[0]
            case "IN" | "CATEGORY" | "ANY" | "NOT_LITERAL":
                tree = _parser.parse("")
                tree.append((operation, given))
                one = _compiler.compile(tree)
                text += next(character for character in map(chr, range(33, 1_000)) if one.fullmatch(character))
            case "AT":
                pass
            case _:
                raise NotImplementedError(operation)
    return text


def _is_blank(value: Any) -> bool:
    """Whether there is nothing but null in a value."""
    if isinstance(value, dict):
        return all(_is_blank(child) for child in value.values())
    return value is None or value == []


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "bytes": list(text.encode()), "logprob": logprob}


def prompt_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """About how many tokens a conversation has."""
    count = 0
    for message in messages:
        content = message.get("content") or ""
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            count += len(part["text"]) // CHARACTERS_A_TOKEN if part["type"] == "text" else IMAGE_TOKENS
        count += 4
    return count


def schema_of(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The JSON schema that a chat request names, where either server takes one."""
    schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema")
    schema = schema or (body.get("structured_outputs") or {}).get("json")
    found: dict[str, Any] | None = json.loads(schema) if isinstance(schema, str) else schema
    return found


def choices_of(body: Mapping[str, Any]) -> list[str]:
    """The texts of which a chat request wants one; empty where it wants something else."""
    named = (body.get("structured_outputs") or {}).get("choice")
    if named:
        return list(named)
    schema = schema_of(body)
    if schema is not None and "enum" in schema:
        return [json.dumps(choice, ensure_ascii=False) for choice in schema["enum"]]
    regex = body.get("regex") or ""
    inner = regex[3:] if regex.startswith("(?:") else regex[1:] if regex.startswith("(") else ""
    if inner.endswith(")") and "|" in inner and not re.search(r"(?<!\\)[()\[\]*+?{}^$.]", inner[:-1]):
        return [re.sub(r"\\(.)", r"\1", choice) for choice in re.split(r"(?<!\\)\|", inner[:-1])]
    return []


class InstantProcess:
    """An instant server in a process of its own, which can be killed and frozen as a real one can."""

    def __init__(self, kind: Kind = "sglang", *flags: str) -> None:
        self._kind, self._flags = kind, flags
        self._process: subprocess.Popen[str] | None = None
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> InstantProcess:
        """Start it, on the same port as before if it ran before; returns when it listens."""
        command = [sys.executable, "-m", "tests.engines.instant", "--kind", self._kind, "--port", str(self._port)]
        self._process = subprocess.Popen([*command, *self._flags], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline().strip().rpartition(":")[2])
        return self

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; SIGKILL waits for its end."""
        assert self._process is not None
        self._process.send_signal(number)
        if number == signal.SIGKILL:
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()

    def __enter__(self) -> InstantProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.send(signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description="A server that answers at once, as SGLang or vLLM would.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--kind", choices=("sglang", "vllm"), default="sglang")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--seconds", type=float, default=0.0, help="time for each answer")
    parser.add_argument("--values", type=json.loads, default={}, help="answers by property name, as JSON")
    parser.add_argument("--choose", default="", help="the choice to take where it is among those asked about")
    given = vars(parser.parse_args())
    with InstantServer(given.pop("kind"), keep=False, **given) as server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
