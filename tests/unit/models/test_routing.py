"""Who runs a model, by its name: a table of cases, and what holds for all of them."""

from __future__ import annotations

import os
import string
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docflow.engines.local import backends
from docflow.errors import ConfigError, EngineUnavailable, ModelNotFound
from docflow.models.catalogue import Catalogue
from docflow.models.configs import BUILT_IN, Configs
from docflow.models.routing import Kind, Router, backend_for, kind_of
from docflow.settings import ModelsSettings
from tests.unit.models.words import make_model

EVERY = ("vllm", "transformers", "llama_cpp")
SOME = st.lists(st.sampled_from(EVERY), unique=True, min_size=1)
PLAIN = st.text(string.ascii_letters + string.digits + "-_.", min_size=1, max_size=30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of models and a Hub's cache, with one of each kind."""
    models = tmp_path / "models"
    make_model(models, "small.gguf")
    make_model(models, "team/other.gguf")
    make_model(models, "mmproj-small.gguf")
    (models / "weights").mkdir()
    (models / "weights" / "config.json").write_text("{}")
    hub_model(tmp_path / "hub", "owner/weights", {"config.json": "{}"})
    hub_model(tmp_path / "hub", "owner/files", {"Q4.gguf": "GGUF", "Q8.gguf": "GGUF"})
    hub_model(tmp_path / "hub", "owner/single", {"only.gguf": "GGUF"})
    hub_model(tmp_path / "hub", "old", {"config.json": "{}"})
    return tmp_path


def hub_model(cache: Path, name: str, files: dict[str, str]) -> None:
    entry = cache / f"models--{name.replace('/', '--')}"
    snapshot = entry / "snapshots" / "01ab23cd"
    snapshot.mkdir(parents=True)
    (entry / "refs").mkdir()
    (entry / "refs" / "main").write_text("01ab23cd")
    for file, content in files.items():
        (snapshot / file).write_text(content)


def router(folder: Path, available: tuple[str, ...] = EVERY, active: str = "", **settings: object) -> Router:
    catalogue = Catalogue(folder / "models", folder / "hub")
    return Router(Configs(ModelsSettings(**settings)), catalogue, available, active or available[0])


@pytest.mark.parametrize(
    ("name", "available", "active", "backend", "file"),
    [
        ("small.gguf", EVERY, "vllm", "llama_cpp", "models/small.gguf"),
        ("small", EVERY, "vllm", "llama_cpp", "models/small.gguf"),
        ("team/other.gguf", EVERY, "vllm", "llama_cpp", "models/team/other.gguf"),
        ("weights", EVERY, "vllm", "vllm", "models/weights"),
        ("weights", ("transformers", "llama_cpp"), "llama_cpp", "transformers", "models/weights"),
        ("owner/weights", EVERY, "vllm", "vllm", "hub/models--owner--weights/snapshots/01ab23cd"),
        ("owner/weights", EVERY, "transformers", "transformers", "hub/models--owner--weights/snapshots/01ab23cd"),
        ("owner/weights", EVERY, "llama_cpp", "vllm", "hub/models--owner--weights/snapshots/01ab23cd"),
        ("owner/files/Q4.gguf", EVERY, "vllm", "llama_cpp", "hub/models--owner--files/snapshots/01ab23cd/Q4.gguf"),
        ("owner/single", EVERY, "vllm", "llama_cpp", "hub/models--owner--single/snapshots/01ab23cd/only.gguf"),
        ("old", EVERY, "vllm", "vllm", "hub/models--old/snapshots/01ab23cd"),
        ("mine", EVERY, "vllm", "llama_cpp", "models/small.gguf"),
    ],
)  # fmt: skip
def test_a_name_leads_to_its_file_and_backend(
    folder: Path, name: str, available: tuple[str, ...], active: str, backend: str, file: str
) -> None:
    route = router(folder, available, active, aliases={"mine": {"model_id": "small.gguf"}}).route(name)
    assert (route.backend, route.config.model_id) == (backend, str(folder / file))


def test_a_path_is_a_file_or_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = make_model(folder / "elsewhere", "a.gguf")
    assert router(folder).route(str(elsewhere)).config.model_id == str(elsewhere)
    monkeypatch.chdir(folder)
    assert router(folder).route("./models/weights").config.model_id == str(folder / "models/weights")
    assert router(folder).route("models/weights").backend == "vllm"


def test_the_projector_beside_a_model_is_its_own_and_is_no_model(folder: Path) -> None:
    found = router(folder)
    assert found.route("small.gguf").config.projector == str(folder / "models/mmproj-small.gguf")
    assert found.route("team/other.gguf").config.projector == ""
    assert set(found.catalogue.files()) == {"small.gguf", "team/other.gguf"}
    assert set(found.catalogue.hub()) == {
        "old",
        "owner/weights",
        "owner/single/only.gguf",
        "owner/files/Q4.gguf",
        "owner/files/Q8.gguf",
    }


def test_among_several_models_a_projector_belongs_to_the_one_that_it_is_called_after(tmp_path: Path) -> None:
    for name in ("Qwen2-VL-2B-Instruct-Q4_K_M.gguf", "text-7b.gguf", "mmproj-Qwen2-VL-2B-Instruct-f16.gguf"):
        make_model(tmp_path, name)
    found = Catalogue(tmp_path)
    assert found.projector(tmp_path / "text-7b.gguf", "") == ""
    assert found.projector(tmp_path / "Qwen2-VL-2B-Instruct-Q4_K_M.gguf", "").endswith("Instruct-f16.gguf")
    assert found.projector(tmp_path / "text-7b.gguf", "mmproj-Qwen2-VL-2B-Instruct-f16.gguf").endswith("f16.gguf")
    with pytest.raises(ModelNotFound, match="no projector none"):
        found.projector(tmp_path / "text-7b.gguf", "none.gguf")


def test_an_alias_wins_over_a_file_and_a_named_backend_over_the_routing(folder: Path) -> None:
    aliases = {"small.gguf": {"model_id": "owner/weights", "backend": "transformers", "tensor_parallel_size": 2}}
    found = router(folder, aliases=aliases)
    route = found.route("small.gguf")
    assert (route.backend, route.model_id, route.config.tensor_parallel_size) == ("transformers", "owner/weights", 2)
    assert found.route("small.gguf", backend="vllm").backend == "vllm"
    assert found.route("owner/weights", backend="transformers").backend == "transformers"


def test_names_of_one_model_have_one_key_unless_they_load_it_in_their_own_way(folder: Path) -> None:
    aliases = {
        "same": {"model_id": "small.gguf"},
        "long": {"model_id": "small.gguf", "context": 5},
        "cool": {"model_id": "small.gguf", "temperature": 0.5},
    }
    found = router(folder, aliases=aliases)
    assert {name: found.key_of(name) for name in ("small.gguf", "small", "same", "long", "cool")} == {
        "small": "small.gguf",
        "small.gguf": "small.gguf",
        "same": "small.gguf",
        "long": "long",
        "cool": "cool",
    }


@pytest.mark.parametrize(
    ("name", "said", "hint"),
    [
        ("none.gguf", "no file none.gguf", "docflow models list"),
        ("owner/absent", "is not on this machine", "docflow models pull owner/absent"),
        ("owner/files", "holds 2 GGUF files", "owner/files/Q4.gguf"),
        ("owner/files/x.gguf", "no file", "docflow models pull owner/files --file x.gguf"),
        ("no model at all", "no model", "docflow models list"),
        ("../../etc/passwd", "no model", "docflow models list"),
        ("llama3-8b", "Meta-Llama-3-8B-Instruct is not on this machine", "docflow models pull meta-llama/"),
    ],
)
def test_what_is_not_there_is_said_with_the_next_step(folder: Path, name: str, said: str, hint: str) -> None:
    with pytest.raises(ModelNotFound) as error:
        router(folder).route(name)
    assert said in error.value.message
    assert hint in error.value.hint


def test_a_missing_backend_is_named_with_what_installs_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "why_not", lambda name: f"the package {name} is not installed")
    with pytest.raises(EngineUnavailable, match="llama-cpp cannot be used") as error:
        router(folder, ("vllm",)).route("small.gguf")
    assert error.value.hint == 'pip install "docflow[llama-cpp]"'
    with pytest.raises(EngineUnavailable, match="transformers cannot be used"):
        router(folder, ("llama_cpp",)).route("owner/weights")


def test_the_built_in_aliases_are_corrected() -> None:
    assert BUILT_IN["llama3-8b"].model_id == "meta-llama/Meta-Llama-3-8B-Instruct"
    assert BUILT_IN["llama3-70b"].tensor_parallel_size == 4
    wanted = Configs(ModelsSettings()).wanted("meta-llama/Llama-3-70B-Instruct")
    assert wanted.config.model_id == "meta-llama/Meta-Llama-3-70B-Instruct"
    assert not any(alias.trust_remote_code for alias in BUILT_IN.values())


def test_an_alias_of_an_alias_is_refused() -> None:
    with pytest.raises(ConfigError, match="is an alias too"):
        Configs(ModelsSettings(aliases={"a": {"model_id": "b"}, "b": {"model_id": "x/y"}}))


# --- what holds for every name ----------------------------------------------------------------------------------------


@given(name=PLAIN, available=SOME, data=st.data())
def test_gguf_goes_to_llama_cpp_whatever_else_there_is(name: str, available: list[str], data: st.DataObject) -> None:
    active = data.draw(st.sampled_from(available))
    assert kind_of(f"{name}.gguf") == kind_of(f"{name}.GGUF") == "gguf"
    if "llama_cpp" in available:
        assert backend_for("gguf", available, active) == "llama_cpp"
    else:
        with pytest.raises(EngineUnavailable):
            backend_for("gguf", available, active)


@given(owner=PLAIN, name=PLAIN, available=SOME, data=st.data())
def test_names_of_the_hub_go_to_vllm_before_transformers_and_never_to_llama_cpp(
    owner: str, name: str, available: list[str], data: st.DataObject
) -> None:
    active = data.draw(st.sampled_from(available))
    kind: Kind = kind_of(f"{owner}/{name}")
    assert kind in ("hub", "gguf")
    if kind == "gguf":
        return
    able = [one for one in available if one != "llama_cpp"]
    if not able:
        with pytest.raises(EngineUnavailable):
            backend_for(kind, available, active)
    elif active in able:
        assert backend_for(kind, available, active) == active
    else:
        assert backend_for(kind, available, active) == ("vllm" if "vllm" in able else able[0])


@given(name=PLAIN.filter(lambda name: not name.lower().endswith(".gguf")), available=SOME, data=st.data())
def test_any_other_name_goes_to_the_active_backend(name: str, available: list[str], data: st.DataObject) -> None:
    active = data.draw(st.sampled_from(available))
    assert kind_of(name) in ("other", "folder")
    assert backend_for("other", available, active) == active


@pytest.fixture(scope="module")
def bare() -> Iterator[Router]:
    with tempfile.TemporaryDirectory() as folder:
        yield router(Path(folder))


@given(name=st.text(min_size=1, max_size=60))
def test_no_text_makes_the_routing_fall_over(bare: Router, name: str) -> None:
    try:
        route = bare.route(name)
    except (ModelNotFound, EngineUnavailable, ConfigError):
        return
    except Exception as error:
        assert type(error).__name__ == "UsageError", error  # noqa: PT017 (nothing else may come)
        return
    assert os.path.exists(route.config.model_id)
