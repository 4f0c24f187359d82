"""``docflow models`` against a service that runs models, and against this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from docflow.cli import main
from docflow.engines.local import backends
from docflow.sizes import MIB
from tests.integration.serving import serving
from tests.unit.models.words import Words, make_model

OPS = "0123456789abcdef-ops"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models, and a backend that loads them."""
    made = Words()
    monkeypatch.setattr(backends, "backend", lambda name: made)
    monkeypatch.setattr(backends, "TABLE", {"llama_cpp": "unused"})
    monkeypatch.setenv("DOCFLOW_MODELS__FOLDER", str(tmp_path / "models"))
    monkeypatch.setenv("DOCFLOW_MODELS__MEMORY_MB", "100")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    make_model(tmp_path / "models", "small.gguf")
    make_model(tmp_path / "models", "team/large.gguf", 101 * MIB)
    (tmp_path / "models" / "bad.gguf").write_bytes(b"broken")
    return tmp_path


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    with serving(folder / "data", serve__models=True, serve__keys=f"ops:admin={OPS};team=0123456789abcdef-team") as url:
        yield url


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["models", *arguments])
    return int(ended.value.code or 0)


def test_a_services_models_are_listed_loaded_and_unloaded(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCFLOW_API_KEY", OPS)
    assert run("load", "small.gguf", "--url", address, "--context", "50") == 0
    assert "small.gguf is loaded by llama-cpp" in capsys.readouterr().out
    assert run("list", "--url", address, "--json") == 0
    listed = {one["id"]: one for one in json.loads(capsys.readouterr().out)["models"]}
    assert (listed["small.gguf"]["loaded"], listed["small.gguf"]["context"]) == (True, 50)
    assert run("list", "--url", address) == 0
    assert "loaded" in capsys.readouterr().out
    for said in ("is unloaded", "was not loaded"):
        assert run("unload", "small.gguf", "--url", address) == 0
        assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said", "hint"),
    [
        (("load", "none.gguf"), 3, "there is no model 'none.gguf' here", "docflow models pull"),
        (("load", "team/large.gguf"), 3, "needs 101.0 MiB of memory, and 100.0 MiB are left", "smaller"),
        (("load", "bad.gguf"), 3, "bad.gguf is damaged", "Get a new copy"),
        (("load", "small.gguf", "--backend", "none"), 2, "there is no backend 'none'", "Backends are"),
    ],
)
def test_what_a_service_cannot_load_is_said_with_the_next_step(
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    said: str,
    hint: str,
) -> None:
    monkeypatch.setenv("DOCFLOW_API_KEY", OPS)
    assert run(*arguments, "--url", address) == code
    printed = capsys.readouterr().err
    assert said in printed
    assert hint in printed


def test_a_key_that_is_missing_or_no_admins_is_said(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("list", "--url", address) == 3
    assert "DOCFLOW_API_KEY" in capsys.readouterr().err
    monkeypatch.setenv("DOCFLOW_API_KEY", "0123456789abcdef-team")
    assert run("unload", "small.gguf", "--url", address) == 3
    assert "may not load or unload" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("load", "small.gguf"), 0, "small.gguf can be loaded by llama-cpp"),
        (("load", "small"), 0, "a token written"),
        (("load", "none.gguf"), 3, "there is no file none.gguf"),
        (("load", "bad.gguf"), 3, "bad.gguf is damaged"),
        (("load", "team/large.gguf"), 3, "needs 101.0 MiB"),
        (("load", "small.gguf", "--device", "tpu"), 2, "no device 'tpu'"),
        (("load", "owner/none"), 3, "owner/none is not on this machine"),
        (("pull", "not a name"), 2, "is no model of the Hub's"),
        (("unload", "small.gguf", "--url", "http://127.0.0.1:9"), 3, "cannot be reached"),
        (("list", "--url", "nonsense"), 2, "not well formed"),
    ],
)
def test_on_this_machine_a_model_is_tried_and_what_is_wrong_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, said: str
) -> None:
    assert run(*arguments) == code
    printed = capsys.readouterr()
    assert said in (printed.err if code else printed.out)


def test_the_list_tells_who_would_run_a_model_and_whether_it_fits(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("list") == 0
    lines = {line.split()[0]: " ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.split()}
    assert lines["small.gguf"] == "small.gguf llama-cpp 4 B fits"
    assert lines["team/large.gguf"] == "team/large.gguf llama-cpp 101.0 MiB too large"
    assert lines["llama3-8b"] == "llama3-8b not here = meta-llama/Meta-Llama-3-8B-Instruct; default"


@pytest.mark.parametrize("mode", ["auto", "vllm"])
def test_without_any_backend_models_are_listed_with_what_is_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    nothing = Words()
    monkeypatch.setattr(nothing, "missing", lambda: "some-package")
    monkeypatch.setattr(backends, "backend", lambda name: nothing)
    monkeypatch.setattr(backends, "TABLE", {"vllm": "unused", "llama_cpp": "unused"})
    monkeypatch.setenv("DOCFLOW_MODELS__MODE", mode)
    assert run("list") == 0
    said = capsys.readouterr().out
    for part in ("qwen2-vl-2b", "cannot"):  # of the Hub, and a file that is here
        assert part in said
    assert "No backend can be used here" in said
    assert "llama-cpp: the package some-package is not installed" in said
    assert 'pip install "docflow[llama-cpp]"' in said
    assert run("list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert (listed["active_backend"], listed["backends"], set(listed["missing"])) == (None, [], {"vllm", "llama_cpp"})


def test_a_backend_that_the_settings_name_and_that_is_missing_does_not_end_the_list(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there, nothing = Words(), Words()
    monkeypatch.setattr(nothing, "missing", lambda: "vllm")
    monkeypatch.setattr(backends, "backend", lambda name: nothing if name == "vllm" else there)
    monkeypatch.setattr(backends, "TABLE", {"vllm": "unused", "llama_cpp": "unused"})
    monkeypatch.setenv("DOCFLOW_MODELS__MODE", "vllm")
    assert run("list") == 0
    assert "The backend that models.mode names cannot be used here:\n  vllm: the package" in capsys.readouterr().out


@pytest.mark.parametrize("columns", [80, 120])
def test_names_are_whole_in_the_list_whatever_the_terminals_width(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run("list") == 0
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= columns
    for part in ("team/large.gguf", "= meta-llama/Meta-Llama-3-70B-Instruct"):
        assert part in said
