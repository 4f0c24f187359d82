"""Downloads from the Hub: what is taken, going on where one broke off, and what is said when it cannot be."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

pytest.importorskip("huggingface_hub")

from docflow.errors import EngineUnavailable, ModelNotFound, UsageError
from docflow.models.catalogue import Catalogue
from docflow.models.pulling import Hub, _chosen

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = bytes(range(256)) * 20_000
"""5 MB: more than one piece."""


class SmallHub(ThreadingHTTPServer):
    """The Hub's protocol, as far as a download needs it. ``breaks_after`` ends each answer after so many bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.breaks_after: int | None = None
        self.asked: list[tuple[str, str, str | None]] = []
        self.tokens: set[str | None] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: SmallHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((self.command, path, self.headers.get("Range")))
        self.server.tokens.add(self.headers.get("Authorization"))
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self.tell("/".join(parts[2:4]), parts[4:])
        elif len(parts) > 4 and parts[2] == "resolve":
            self.file("/".join(parts[:2]), "/".join(parts[4:]), body)
        else:
            self.send(404, b"")

    def tell(self, name: str, rest: list[str]) -> None:
        if name in self.server.gated:
            self.send(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif name not in self.server.models:
            self.send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif rest[:1] == ["revision"] and rest[1] not in ("main", COMMIT):
            self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif rest[:1] == ["tree"]:
            told = [self.told(file, data) for file, data in self.server.models[name].items()]
            self.send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})
        else:
            files = self.server.models[name]
            siblings = [{"rfilename": file, "size": len(data), "blobId": _hash(data)} for file, data in files.items()]
            said = {"_id": "1", "id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}
            self.send(200, json.dumps(said).encode(), {"Content-Type": "application/json"})

    def told(self, file: str, data: bytes) -> dict[str, Any]:
        return {"type": "file", "path": file, "size": len(data), "oid": _hash(data)}

    def file(self, name: str, file: str, body: bool) -> None:
        data = self.server.models[name].get(file)
        if data is None:
            self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        begin = self.headers.get("Range")
        start = int(begin.removeprefix("bytes=").split("-")[0]) if begin and body else 0
        headers = {"ETag": f'"{_hash(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.send(206 if start else 200, data[start:], headers, body=body)

    def send(self, status: int, content: bytes, headers: dict[str, str] | None = None, *, body: bool = True) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        most = self.server.breaks_after
        breaks = body and most is not None and len(content) > most
        self.end_headers()
        if body and self.command == "GET":
            self.wfile.write(content[:most] if breaks else content)
        if breaks:
            self.server.breaks_after = 0  # and from then on at once
            self.close_connection = True


def _hash(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[SmallHub]:
    server = SmallHub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    server.models["owner/small"] = {
        "config.json": b"{}",
        "tokenizer.json": b"{}",
        "model.safetensors": WEIGHTS,
        "pytorch_model.bin": b"pickled",
        "original/model.safetensors": b"another copy",
        "original/params.json": b"{}",
        "modeling.py": b"print('code')",
    }
    server.models["owner/files"] = {"a-Q4.gguf": b"GGUF4", "b-Q8.gguf": b"GGUF8", "mmproj-f16.gguf": b"GGUFp"}
    server.models["owner/pickled"] = {"config.json": b"{}", "pytorch_model.bin": b"pickled"}
    server.gated.add("owner/gated")
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_a_model_needs_is_downloaded_once_and_then_listed(hub: SmallHub, tmp_path: Path) -> None:
    plan = Hub().plan("owner/small")
    assert [file for file, _ in plan.files] == ["config.json", "model.safetensors", "tokenizer.json"]
    assert plan.missing_bytes == plan.total_bytes == len(WEIGHTS) + 4
    folder = Hub().pull(plan)
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert Catalogue(tmp_path, tmp_path / "hub").hub() == {"owner/small": folder}
    assert Hub().plan("owner/small").missing_bytes == 0
    before = len(hub.asked)
    Hub().pull(Hub().plan("owner/small"))
    assert not [path for method, path, _ in hub.asked[before:] if method == "GET" and "resolve" in path]
    assert hub.tokens == {None}


def test_a_download_that_broke_off_goes_on_where_it_was(hub: SmallHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1_000_000)
    monkeypatch.setattr("docflow.models.pulling.LARGE_BYTES", 1_000_000)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    hub.breaks_after = 2_000_000
    with pytest.raises(EngineUnavailable, match="cannot be reached") as refused:
        Hub().pull(Hub().plan("owner/small"))
    assert "goes on with the download" in refused.value.hint
    hub.breaks_after = None
    before = len(hub.asked)
    folder = Hub().pull(Hub().plan("owner/small"))
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    ranges = [found for method, path, found in hub.asked[before:] if path.endswith("model.safetensors") and found]
    assert ranges
    assert ranges[0] == "bytes=2000000-"


def test_a_file_that_arrived_damaged_is_not_kept(
    hub: SmallHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("docflow.models.pulling.LARGE_BYTES", 1_000_000)
    blobs = tmp_path / "hub" / "models--owner--small" / "blobs"
    blobs.mkdir(parents=True)
    monkeypatch.setattr(sys.modules[__name__], "_hash", lambda data: hashlib.sha256(data).hexdigest())
    part = blobs / f"{hashlib.sha256(WEIGHTS).hexdigest()}.part"
    part.write_bytes(b"x" * 1_000_000)
    with pytest.raises(EngineUnavailable, match="arrived damaged"):
        Hub().pull(Hub().plan("owner/small"))
    assert not part.exists()
    assert (Hub().pull(Hub().plan("owner/small")) / "model.safetensors").read_bytes() == WEIGHTS


def test_of_several_gguf_files_one_is_named(hub: SmallHub) -> None:
    with pytest.raises(UsageError, match="2 GGUF files") as refused:
        Hub().plan("owner/files")
    assert "--file a-Q4.gguf" in refused.value.hint
    plan = Hub().plan("owner/files", patterns=["*Q8.gguf", "mmproj*"])
    assert [file for file, _ in plan.files] == ["b-Q8.gguf", "mmproj-f16.gguf"]
    folder = Hub().pull(plan)
    assert sorted(path.name for path in folder.iterdir()) == ["b-Q8.gguf", "mmproj-f16.gguf"]
    with pytest.raises(ModelNotFound, match=r"no file c\.gguf"):
        Hub().plan("owner/files", patterns=["c.gguf"])


@pytest.mark.parametrize(
    ("name", "revision", "said"),
    [
        ("owner/none", "", "the Hub has no model owner/none"),
        ("owner/gated", "", "only given to those"),
        ("owner/small", "nowhere", "no revision 'nowhere'"),
        ("owner/pickled", "", "no weights that are loaded here"),
    ],
)
def test_what_the_hub_does_not_give_is_said_with_the_next_step(
    hub: SmallHub, name: str, revision: str, said: str
) -> None:
    with pytest.raises(ModelNotFound, match=said) as refused:
        Hub().plan(name, revision)
    assert refused.value.hint


@pytest.mark.parametrize("name", ["../x", "a/b/c", "http://x/y", "", "a b", "-x/y", "a/../b"])
def test_what_is_no_name_never_reaches_the_hub(hub: SmallHub, name: str) -> None:
    with pytest.raises(UsageError, match="no model of the Hub's"):
        Hub().plan(name)
    assert hub.asked == []


def test_the_token_comes_from_the_environment(hub: SmallHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    Hub().plan("owner/small")
    assert hub.tokens == {"Bearer hf_secret"}


def test_a_hub_that_cannot_be_reached_is_an_error_with_a_next_step(tmp_path: Path) -> None:
    with socket.socket() as taken:  # nobody listens there
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "HF_ENDPOINT": f"http://127.0.0.1:{port}"}
        done = subprocess.run(
            [sys.executable, "-m", "docflow", "models", "pull", "owner/small"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=200,
        )
    assert done.returncode == 3
    assert f"the Hub (http://127.0.0.1:{port}) cannot be reached" in done.stderr
    assert "HF_ENDPOINT" in done.stderr
    assert "Traceback" not in done.stderr


def test_copies_for_other_programs_are_left_out() -> None:
    files = ("onnx/model.onnx", "onnx/config.json", "x/a.safetensors", "1_Pooling/config.json", "b.safetensors")
    assert _chosen("o/n", dict.fromkeys(files, 1), ()) == ["1_Pooling/config.json", "b.safetensors"]
