"""llama.cpp for the tests, and its tiny models: built once, kept as long as what they are made of stays the same.

Its packages are few and get along with docflow's, so they come beside those: a folder for the path, no environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from docflow.deploy.local import environments as product
from docflow.deploy.local.environments import BuildFailed
from tests.engines.kit.environments import HERE, KitError

REQUIREMENTS = HERE / "llama.txt"
_OURS = HERE / "llama.cmake"
# llama-cpp-python comes as source alone. For models this small nothing needs to be fast: no optimiser, no kernels for
# packed weights, the libraries that Python calls and nothing else. That takes three minutes of one core.
_BUILD = {
    "CMAKE_ARGS": " ".join(
        [
            f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={_OURS}",
            "-DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DGGML_LLAMAFILE=OFF -DGGML_CPU_REPACK=OFF",
            "'-DCMAKE_CXX_FLAGS_RELEASE=-O0 -DNDEBUG' '-DCMAKE_C_FLAGS_RELEASE=-O1 -DNDEBUG'",
            "-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF",
        ]
    ),
    "SKBUILD_BUILD_TARGETS": "llama;mtmd",
}


def packages(root: Path) -> Path:
    """The folder with llama-cpp-python and gguf, built when it is not there."""
    return _built(root, "llama", [REQUIREMENTS, _OURS, Path(__file__)], lambda folder: _install(root, folder))


def models(root: Path) -> Path:
    """The folder of the tiny models, made when it is not there."""
    site = packages(root)
    script = HERE / "make_gguf.py"
    command = ["env", f"PYTHONPATH={site}", sys.executable, str(script)]
    return _built(
        root, "gguf", [script, REQUIREMENTS], lambda folder: product.call([*command, str(folder)], root / "gguf.log")
    )


@contextmanager
def on_the_path(site: Path) -> Iterator[None]:
    """llama-cpp-python can be imported here and in processes that are started; docflow's own packages go first."""
    before = os.environ.get("PYTHONPATH")
    sys.path.append(str(site))
    os.environ["PYTHONPATH"] = os.pathsep.join([*([before] if before else []), str(site)])
    try:
        yield
    finally:
        sys.path.remove(str(site))
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _install(root: Path, folder: Path) -> None:
    log = root / "llama.log"
    install = [product.find_uv(root, log), "pip", "install", "--no-deps", "--python", sys.executable]
    settings = [f"{name}={value}" for name, value in _BUILD.items()]
    product.call(["env", *settings, *install, "--target", str(folder), "-r", str(REQUIREMENTS)], log)


def _built(root: Path, name: str, made_of: list[Path], build: Callable[[Path], None]) -> Path:
    try:
        return product.built(root, name, made_of, build)
    except BuildFailed as error:
        raise KitError(f"{error.message}\n{error.hint}") from error
