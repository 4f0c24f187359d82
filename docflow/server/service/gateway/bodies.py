"""The bytes that go to an upstream: the client's own wherever nothing has to be changed."""

from __future__ import annotations

import orjson

from docflow.server.service.gateway.call import Call

_COUNTED = b'"stream_options":{"include_usage":true}}'


def body_for(call: Call, model: str) -> bytes:
    """The body of a call. Its model is put in place of the client's where that is another; a stream is asked for the
    tokens that it costs. All else stays as it came, byte for byte unless the model changes."""
    asks = call.stream and call.uncounted
    if (not model or model == call.body.get("model")) and (not asks or "stream_options" not in call.body):
        if not asks:
            return call.raw
        return call.raw.rstrip()[:-1] + b"," + _COUNTED  # an object that has "stream" in it: never an empty one
    changed = dict(call.body)
    if model:
        changed["model"] = model
    if asks:
        given = changed.get("stream_options")
        changed["stream_options"] = {**(given if isinstance(given, dict) else {}), "include_usage": True}
    return orjson.dumps(changed)
