"""What is said of servers that lack this or that, shown with one whose abilities can be taken away."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
from collections.abc import Mapping
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from docflow.cli.app import app
from docflow.engines.base import ServerOptions
from docflow.engines.check import Report, check
from docflow.engines.check_flags import Remedy, remedy_for, warnings_for
from docflow.errors import ConfigError, NoEngine
from tests.engines.loopback import LoopbackServer, Received, response

ALL = frozenset(
    {
        "images",
        "two images",
        "grammar",
        "probabilities",
        "continues",
        "cache",
        "compact",
        "whole pages",
        "lpm",
        "twenty",
    }
)


class Able(LoopbackServer):
    """A server that has the abilities it is given, and counts a token a character and one for 28 x 28 pixels."""

    def __init__(self, kind: str = "vllm", without: frozenset[str] = frozenset(), **other: Any) -> None:
        super().__init__()
        self.kind, self.abilities = kind, ALL - without
        self.version: str = other.get("version", "1.0.0")
        self.context: int = other.get("context", 8192)
        self.key: str = other.get("key", "")
        self.silent_after: int = other.get("silent_after", 1000)
        self.owner: str = other.get("owner", kind)
        self.asked = 0

    async def handle(self, request: Received, writer: Any) -> None:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            writer.write(response(401, {"error": "Unauthorized"}))
        elif request.path == "/v1/models":
            model = {"id": "m", "owned_by": self.owner, "max_model_len": self.context}
            writer.write(response(200, {"object": "list", "data": [model]}))
        elif request.path == "/health":
            writer.write(response(200, b""))
        elif request.path == "/version" and self.kind == "vllm":
            writer.write(response(200, {"version": self.version}))
        elif request.path == "/server_info" and self.kind == "sglang":
            policy = "lpm" if "lpm" in self.abilities else "fcfs"
            writer.write(response(200, {"version": self.version, "schedule_policy": policy}))
        elif request.path == "/model_info" and self.kind == "sglang":
            writer.write(response(200, {"model_path": "m"}))
        elif request.path == "/v1/chat/completions":
            self.asked += 1
            if self.asked > self.silent_after:
                writer.close()
            else:
                writer.write(self.chat(request.json()))
        else:
            writer.write(response(404, {"detail": "Not Found"}))

    def chat(self, body: Mapping[str, Any]) -> bytes:
        images = [part["image_url"]["url"] for part in self.parts(body) if part["type"] == "image_url"]
        if images and "images" not in self.abilities:
            return response(400, {"error": {"message": "this is not a multimodal model"}})
        if len(images) > (8 if "two images" in self.abilities else 1):
            return response(400, {"error": {"message": "At most 8 image(s) may be provided in one prompt."}})
        if body.get("top_logprobs", 0) > 5 and "twenty" not in self.abilities:
            return response(400, {"error": {"message": "Requested sample logprobs of 20, the most allowed is 5"}})
        prompt = 10 + sum(len(part["text"]) for part in self.parts(body) if part["type"] == "text")
        prompt += sum(self.image_tokens(image) for image in images)
        if body.get("continue_final_message"):
            prompt += 1 if "continues" in self.abilities else 6
        pieces, others = self.answer(body)
        logprobs = None
        if body.get("logprobs") and "probabilities" in self.abilities:
            logprobs = {"content": [self.step(piece, others, body.get("top_logprobs") or 0) for piece in pieces]}
        message = {"role": "assistant", "content": "".join(pieces)}
        usage = {"prompt_tokens": prompt, "completion_tokens": len(pieces)}
        if "cache" in self.abilities:
            usage["prompt_tokens_details"] = {"cached_tokens": prompt // 16 * 16}  # type: ignore[assignment]
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}
        return response(200, {"choices": [choice], "usage": usage})

    def parts(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        content = [message["content"] for message in body["messages"] if message["role"] == "user"]
        return [part for one in content for part in ([{"type": "text", "text": one}] if isinstance(one, str) else one)]

    def image_tokens(self, uri: str) -> int:
        size = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size
        tokens = size[0] * size[1] // 784
        return tokens if "whole pages" in self.abilities else min(tokens, 512)

    def answer(self, body: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """The tokens of the answer, and what could have stood in the place of each."""
        if "grammar" not in self.abilities:
            return ["Well", "."], []
        if "response_format" in body:
            schema = body["response_format"]["json_schema"]["schema"]
            text = json.dumps(dict.fromkeys(schema["properties"]), separators=(",", ":"))
            return [text[:2], text[2:]], [] if "compact" in self.abilities else ["{\n", "\n"]
        guide = {**body, **body.get("structured_outputs", {})}
        choices = guide.get("choice") or re.findall(r"\w{4,}", guide.get("regex", ""))
        if choices:
            return [choices[0]], choices[1:]
        return (["ABC", "-1234"] if "regex" in guide else ["Yes", "."]), []

    def step(self, piece: str, others: list[str], most: int) -> dict[str, Any]:
        top = [(piece, -0.1), *((other, -3.0) for other in others), *((f"!{n}", -9999.0) for n in range(most))]
        said = [{"token": text, "bytes": list(text.encode()), "logprob": prob} for text, prob in top]
        return {**said[0], "top_logprobs": said[:most]}


def lacks(report: Report) -> dict[str, str]:
    return {one.name: one.remedy for one in report.abilities if not one.works}


@pytest.mark.parametrize("kind", ["sglang", "vllm"])
def test_a_server_that_can_do_everything_is_complete(kind: str) -> None:
    with Able(kind) as server:
        report = check(server.url)
    assert lacks(report) == {}
    assert report.complete
    assert (report.kind, report.version, report.model, report.context) == (kind, "1.0.0", "m", 8192)


@pytest.mark.parametrize(
    ("without", "name", "flag"),
    [
        ("two images", "several images", "--limit-mm-per-prompt"),
        ("grammar", "JSON schema", "--structured-outputs-config"),
        ("grammar", "regular expression", "--structured-outputs-config"),
        ("probabilities", "token probabilities", "--max-logprobs"),
        ("twenty", "token probabilities", "--max-logprobs"),
        ("twenty", "choice", "--max-logprobs"),
        ("continues", "begun answer continued", "newer"),
        ("cache", "cached tokens reported", "--enable-prompt-tokens-details"),
        ("images", "an image", "a model that sees images"),
    ],
)
def test_a_missing_ability_is_named_with_its_flag(without: str, name: str, flag: str) -> None:
    with Able("vllm", frozenset({without})) as server:
        report = check(server.url)
    assert not report.complete
    assert flag in lacks(report)[name]


@pytest.mark.parametrize(
    ("without", "name"),
    [("compact", "JSON without blanks"), ("whole pages", "pages in full size"), ("lpm", "order by prefix")],
)
def test_what_only_saves_time_does_not_make_a_server_incomplete(without: str, name: str) -> None:
    with Able("sglang", frozenset({without})) as server:
        report = check(server.url)
    assert set(lacks(report)) == {name}
    assert lacks(report)[name]
    assert report.complete


def test_a_context_without_room_for_a_page_is_too_short() -> None:
    with Able(context=2048) as server:
        assert "--max-model-len" in lacks(check(server.url))["room for a page"]
        assert "room for a page" in lacks(check(server.url, page_tokens=16))


def test_the_kind_is_found_behind_a_gateway_that_lists_models_itself() -> None:
    for kind in ("sglang", "vllm"):
        with Able(kind, owner="gateway") as server:
            assert check(server.url).kind == kind


def test_a_server_of_another_kind_is_not_taken_for_one_of_ours() -> None:
    with Able("other") as server, pytest.raises(NoEngine, match="neither SGLang nor vLLM"):
        check(server.url)


def test_the_key_of_the_settings_is_sent_and_a_wrong_one_told() -> None:
    with Able(key="right") as server:
        assert check(server.url, options=ServerOptions(api_key="right")).complete
        with pytest.raises(NoEngine, match="API key") as caught:
            check(server.url, options=ServerOptions(api_key="wrong"))
    assert "DOCFLOW_API_KEY" in caught.value.hint


def test_a_model_that_the_server_does_not_have_is_said_with_how_to_name_one() -> None:
    with Able() as server, pytest.raises(NoEngine, match="has no model 'other', but m") as caught:
        check(f"{server.url}?model=other")
    assert "?model=NAME" in caught.value.hint


def test_a_server_that_dies_meanwhile_is_not_asked_on_and_on() -> None:
    with Able(silent_after=2) as server:
        report = check(server.url)
        assert server.asked <= 6
    assert [one.works for one in report.abilities[:2]] == [True, True]
    assert not report.complete
    assert report.abilities[-1].detail.startswith("not tried")


def test_a_server_that_answers_nothing_is_no_engine() -> None:
    with Able(silent_after=0) as server, pytest.raises(NoEngine):
        check(server.url)


@pytest.mark.parametrize("url", ["gpu1:30000", "ftp://gpu1", "http://", "http://gpu1:port", "http://gpu1/?colour=red"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(url)
    assert "docflow engines check http://" in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "version", "count"),
    [
        ("sglang", "0.5.9", 1),
        ("sglang", "0.5.10", 0),
        ("sglang", "0.5.10.post1", 0),
        ("sglang", "0.4.10", 1),
        ("vllm", "0.29.1", 1),
        ("vllm", "0.30.0+cpu", 0),
        ("vllm", "0.100.0rc2", 0),
        ("vllm", "", 1),
        ("vllm", "dev", 1),
    ],
)
def test_versions_with_known_holes_are_warned_of(kind: str, version: str, count: int) -> None:
    assert len(list(warnings_for(kind, version))) == count


@pytest.mark.parametrize("kind", ["sglang", "vllm"])
def test_there_is_something_to_do_about_everything(kind: str) -> None:
    only_sglang = {Remedy.SCHEDULE}
    assert all(remedy_for(kind, remedy) for remedy in Remedy if kind == "sglang" or remedy not in only_sglang)


# --- the command --------------------------------------------------------------------------------------------------


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["engines", "check", *arguments])


def test_the_table_names_the_flag_and_the_exit_code_says_that_something_is_missing() -> None:
    with Able("vllm", frozenset({"cache"}), version="0.29.0") as server:
        shown = run(server.url)
    assert shown.exit_code == 1
    assert "Needed, and missing" in shown.output
    assert "--enable-prompt-tokens-details" in shown.output
    assert "PYSEC-2026-4353" in shown.stderr


def test_the_json_holds_every_ability() -> None:
    with Able() as server:
        shown = run(f"vllm={server.url}", "--json")
        assert shown.exit_code == 0
        said = json.loads(shown.stdout)
        assert said["complete"] is True
        assert said["url"] == server.url
    assert {"name", "works", "needed", "detail", "remedy"} == set(said["abilities"][0])


def test_a_server_that_is_not_there_ends_with_3_and_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    from docflow.cli import main

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(SystemExit) as ended:
            main(["engines", "check", f"http://me:s3cret@127.0.0.1:{port}"])
    said = capsys.readouterr()
    assert ended.value.code == 3
    assert "cannot be reached" in said.err
    assert "s3cret" not in said.err + said.out
    assert "Traceback" not in said.err


def test_a_url_that_is_none_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    from docflow.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["engines", "check", "gpu1:30000"])
    assert ended.value.code == 2
    assert "http://HOST:PORT" in capsys.readouterr().err
