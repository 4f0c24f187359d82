"""What a request may ask of an upstream. What it may not is refused here, before any of them sees it.

Servers open what a request names: SGLang reads local files and fetches addresses that stand where an image should be.
So an image is its own bytes (``data:``), and every field that names code, a file or another machine is refused. Only
from hosts that the settings allow an image may be named by its address: it is fetched before the request is sent on.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Any

from docflow.engines.admission import SHORTEST_PREFIX
from docflow.server.service.bounds import check_pattern, check_schema, object_of
from docflow.server.service.gateway.call import Call, Kind
from docflow.server.service.gateway.fetching import ImageHosts, image_type
from docflow.server.service.refusals import Refusal
from docflow.settings import GatewaySettings

PATHS: dict[Kind, str] = {
    "chat": "/v1/chat/completions",
    "completion": "/v1/completions",
    "embeddings": "/v1/embeddings",
}
MOST_INPUTS = 2_048
"""Texts in one request to complete or to embed."""
MOST_STOPS = 32
_NEVER = frozenset(
    {
        "custom_logit_processor",  # code
        "logits_processors",
        "chat_template",  # a template is code too
        "prompt_embeds",  # a pickled tensor
        "input_embeds",
        "image_data",  # files and addresses
        "audio_data",
        "video_data",
        "lora_path",
        "kv_transfer_params",  # other machines
        "bootstrap_host",
        "bootstrap_port",
        "bootstrap_room",
    }
)
_PARTS = frozenset({"text", "image_url", "refusal"})
_DATA = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)


def call_of(
    kind: Kind,
    raw: bytes,
    request_id: str,
    settings: GatewaySettings,
    model: str,
    trace: str = "",
    hosts: ImageHosts | None = None,
) -> Call:
    """The request that a body holds. ``model`` is asked for where it names none; ``hosts`` are those that may be named
    for an image. Raises Refusal (400)."""
    body = object_of(raw)
    for name in _NEVER & body.keys():
        if body[name] is not None:
            raise _bad(name, "is not passed on: a request names no code, no file and no other machine")
    named = body.get("model")
    if named is not None and (not isinstance(named, str) or len(named) > 300):
        raise _bad("model", "is no model's name")
    stream = body.get("stream")
    if stream not in (None, True, False):
        raise _bad("stream", "is neither true nor false")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise _bad("stream_options", "is no object")
    _check_numbers(body, settings)
    _check_constraints(body)
    streams = stream is True and kind != "embeddings"
    call = Call(
        kind=kind,
        path=PATHS[kind],
        raw=raw,
        body=body,
        model=named or model,
        stream=streams,
        uncounted=streams and not (options or {}).get("include_usage"),
        request_id=request_id,
        trace=trace,
    )
    if kind == "chat" and "messages" not in body:
        raise _bad("messages", "is missing")
    if "messages" in body:
        _check_messages(body["messages"], settings, call, hosts)
    if kind == "completion":
        _check_texts(body.get("prompt"), "prompt")
    elif kind == "embeddings" and "messages" not in body:
        _check_texts(body.get("input"), "input")
    return call


def _bad(where: str, what: str) -> Refusal:
    return Refusal(400, f"{where} {what}", code="invalid_request")


def _check_numbers(body: dict[str, Any], settings: GatewaySettings) -> None:
    bounds = {
        "n": settings.choices,
        "best_of": settings.choices,
        "max_tokens": settings.max_tokens,
        "max_completion_tokens": settings.max_tokens,
        "min_tokens": settings.max_tokens,
    }
    for name in bounds.keys() & body.keys():
        value = body[name]
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= bounds[name]:
            raise _bad(name, f"is no whole number up to {bounds[name]:,}")
    stop = body.get("stop")
    if isinstance(stop, list) and len(stop) > MOST_STOPS:
        raise _bad("stop", f"has more than {MOST_STOPS} entries")


def _check_constraints(body: dict[str, Any]) -> None:
    """Schemas and patterns, wherever either server takes them."""
    wanted = body.get("response_format")
    if wanted is not None and not isinstance(wanted, dict):
        raise _bad("response_format", "is no object")
    if wanted:
        check_schema(wanted, "response_format")
    for name in ("structured_outputs", "guided_json", "json_schema", "guided_choice"):
        given = body.get(name)
        if isinstance(given, str):
            given = object_of(given.encode())
        if isinstance(given, dict) and isinstance(given.get("json"), str):
            check_schema(object_of(given["json"].encode()), name)
        if given:
            check_schema({"given": given}, name)
    for name in ("regex", "guided_regex", "ebnf", "guided_grammar"):
        check_pattern(body.get(name), name)
    tools = body.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise _bad("tools", "is no list")
    for tool in tools or ():
        check_schema(tool, "tools")


def _check_texts(given: Any, name: str) -> None:
    if not isinstance(given, str | list) or not given:
        raise _bad(name, "is missing" if given is None else "is no text, and no list of texts")
    if isinstance(given, list) and len(given) > MOST_INPUTS and not all(type(one) is int for one in given):
        raise _bad(name, f"has more than {MOST_INPUTS:,} entries")


def _check_messages(messages: Any, settings: GatewaySettings, call: Call, hosts: ImageHosts | None) -> None:
    if not isinstance(messages, list) or not messages:
        raise _bad("messages", "is no list of messages")
    images = 0
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise _bad(where, "is no message with a role")
        content = message.get("content")
        if content is None or isinstance(content, str):
            continue
        if not isinstance(content, list):
            raise _bad(f"{where}.content", "is no text, and no list of parts")
        for place, part in enumerate(content):
            images += _check_part(part, f"{where}.content[{place}]", settings, call, hosts)
    if images > settings.images:
        raise _bad("messages", f"hold more than {settings.images} images")


def _check_part(part: Any, where: str, settings: GatewaySettings, call: Call, hosts: ImageHosts | None) -> int:
    """How many images a part is. One that is named by an allowed address is kept in the call."""
    if not isinstance(part, dict) or part.get("type") not in _PARTS:
        raise _bad(where, f"is of no type that is passed on ({', '.join(sorted(_PARTS))})")
    kind = part["type"]
    others = part.keys() - {"type", kind, "cache_control", "uuid"}
    if others:  # servers go by what is there, not by the type that is said
        raise _bad(where, "has fields that do not belong to its type")
    if kind != "image_url":
        if not isinstance(part.get(kind), str):
            raise _bad(where, "has no text")
        return 0
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    if hosts is not None and isinstance(url, str) and hosts.allows(url):
        part["image_url"] = image if isinstance(image, dict) else {"url": image}
        call.named.append((where, part["image_url"]))
        return 1
    if not isinstance(url, str) or not (found := _DATA.match(url)):
        raise _bad(where, "is no image: write its bytes as data:image/png;base64,..., addresses are not opened")
    if (len(url) - found.end()) * 3 // 4 > settings.image_bytes:
        raise _bad(where, f"is an image larger than {settings.image_bytes:,} bytes")
    try:
        start = base64.b64decode(url[found.end() : found.end() + 24], validate=True)
    except (binascii.Error, ValueError):
        start = b""
    if image_type(start) is None:
        raise _bad(where, "is an image of no kind that is known")
    return 1


# --- what a request begins with -----------------------------------------------------------------------------------


def prompt_length(call: Call) -> int:
    """The characters of what is asked; an image's bytes are none."""
    if call.kind == "completion":
        return _length(call.body.get("prompt"))
    if "messages" not in call.body:
        return _length(call.body.get("input"))
    return sum(_length(message.get("content")) for message in call.body["messages"])


def _length(given: Any) -> int:
    if isinstance(given, str):
        return len(given)
    if not isinstance(given, list):
        return 0
    return sum(len(one) if isinstance(one, str) else len(one.get("text") or "") for one in given if _is_text(one))


def _is_text(one: Any) -> bool:
    return isinstance(one, str) or (isinstance(one, dict) and isinstance(one.get("text"), str))


def mark_beginnings(call: Call) -> None:
    """Say of a chat what others may begin with as well: all before its first image, all up to its last one.

    As ``docflow.engines.admission.beginnings_of`` does of an engine's requests. Without images it is the system's
    text, and its first question is what it shows.
    """
    messages = call.body.get("messages")
    if not isinstance(messages, list):
        return
    digest = hashlib.blake2b(call.model.encode("utf-8", "surrogatepass"), digest_size=16)
    system: bytes | None = None
    first = last = None
    length = 0
    for message in messages:
        if message["role"] not in ("system", "developer") and system is None and length >= SHORTEST_PREFIX:
            system = digest.digest()
        digest.update(f"\0{message['role']}\0".encode("utf-8", "surrogatepass"))
        for part in _parts(message.get("content")):
            image = part.get("image_url")
            if image is not None:
                if first is None and length >= SHORTEST_PREFIX:
                    first = digest.digest()
                url = image["url"] if isinstance(image, dict) else image
                digest.update(hashlib.blake2b(url.encode(), digest_size=16).digest())
                last = digest.digest()
                call.document = call.document or last.hex()
            else:
                text = part.get("text") or ""
                digest.update(text.encode("utf-8", "surrogatepass"))
                length += len(text)
        if message["role"] == "user" and not call.document:
            call.document = digest.hexdigest()
    found = [system] if last is None else [first, last]
    call.beginnings = tuple(dict.fromkeys(one for one in found if one is not None))


def _parts(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"text": content}]
    return content if isinstance(content, list) else []
