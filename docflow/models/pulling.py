"""Downloading a model from the Hub: what it needs and no more, and on from where an earlier download ended.

Only ever by a person's own command: no document, no request and no load of a model downloads anything.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from docflow.errors import EngineUnavailable, ModelNotFound, NotEnoughMemory, UsageError, first_line
from docflow.models.catalogue import PROJECTOR, hub_cache, is_hub_id
from docflow.sizes import shown_size

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

TOKEN = "HF_TOKEN"  # noqa: S105 (the variable's name)
LARGE_BYTES = 8 << 20
"""Files above this size go on where a download of them ended."""
_MOST_BYTES = 50 * 1000**3
"""Above this the Hub gives a file in its own way alone, to its own client."""
_KEPT_FREE = 1 << 30
_TAG = re.compile(r"[0-9a-f]{40,64}")
_SHA256 = 64
"""Letters of a tag that is the hash of the file itself."""
_SMALL = ("*.json", "*.txt", "*.jinja", "*.model", "*.tiktoken", "*.md", "LICENSE*")
"""What belongs to a model beside its weights: configuration, tokenizer, templates."""
_WEIGHTS = ("*.safetensors",)
_FOR_OTHERS = ("original", "onnx", "openvino")
"""Folders with copies of a model for other programs."""
_MOST_NAMED = 12


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be downloaded: the files and their bytes, of one commit. ``missing_bytes`` are not here yet."""

    name: str
    commit: str
    files: tuple[tuple[str, int], ...]
    missing_bytes: int

    @property
    def total_bytes(self) -> int:
        return sum(size for _, size in self.files)


class Hub:
    """The Hub as it is reached from here, by ``HF_ENDPOINT`` where that is set. The token is ``HF_TOKEN`` or none."""

    def __init__(self) -> None:
        """Raises EngineUnavailable where the Hub's client is not installed."""
        try:
            import huggingface_hub
        except ImportError as error:
            raise EngineUnavailable(
                "downloading models needs the package huggingface_hub",
                hint='pip install "docflow[hub]"',
                retryable=False,
            ) from error
        endpoint = os.environ.get("HF_ENDPOINT") or None
        self._token: str | bool = os.environ.get(TOKEN, "").strip() or False  # False: no token of the user's files
        self._api: HfApi = huggingface_hub.HfApi(endpoint=endpoint, token=self._token)
        self.endpoint = str(self._api.endpoint)

    def plan(self, name: str, revision: str = "", patterns: Sequence[str] = ()) -> Plan:
        """What to download of a model: the files that match ``patterns``, else those that loading it needs.

        Raises UsageError for what is no name, or where the files to take have to be named; ModelNotFound,
        EngineUnavailable where the Hub cannot be reached.
        """
        if not is_hub_id(name):
            raise UsageError(f"{name!r} is no model of the Hub's", hint="Write OWNER/NAME, as the Hub's page has it.")
        info = self._asked(
            name, revision, lambda: self._api.model_info(name, revision=revision or None, files_metadata=True)
        )
        sizes = {str(one.rfilename): int(one.size or 0) for one in info.siblings or ()}
        chosen = _chosen(name, sizes, patterns)
        commit = str(info.sha)
        snapshot = hub_cache() / f"models--{name.replace('/', '--')}" / "snapshots" / commit
        missing = sum(sizes[file] for file in chosen if not (snapshot / file).exists())
        return Plan(name, commit, tuple((file, sizes[file]) for file in chosen), missing)

    def pull(self, plan: Plan, revision: str = "") -> Path:
        """Download what is planned into the Hub's cache; the folder it is in. A download that broke off goes on.

        Raises NotEnoughMemory where the disk has no room, EngineUnavailable where the Hub cannot be reached.
        """
        cache = hub_cache()
        cache.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(cache).free
        if plan.missing_bytes + _KEPT_FREE > free:
            raise NotEnoughMemory(
                f"{plan.name} takes {shown_size(plan.missing_bytes)}, and the disk of {cache} has"
                f" {shown_size(free)} left",
                hint="Make room, or set HF_HOME to a folder on another disk.",
            )
        for file, size in plan.files:
            if LARGE_BYTES < size < _MOST_BYTES:
                self._asked(plan.name, revision, partial(self._fetch, plan, file, size, cache))
        files = [file for file, _ in plan.files]
        folder = self._asked(
            plan.name,
            revision,
            lambda: self._api.snapshot_download(
                plan.name, revision=revision or None, cache_dir=cache, allow_patterns=[_literal(one) for one in files]
            ),
        )
        return Path(folder)

    def _fetch(self, plan: Plan, file: str, size: int, cache: Path) -> None:
        """Bring a large file to where the cache keeps it, on from where an earlier download ended.

        The Hub's own client begins a file anew for each process that asks; what is in place it takes over.
        """
        from filelock import FileLock, Timeout
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers

        url = hf_hub_url(plan.name, file, revision=plan.commit, endpoint=self.endpoint)
        found = self._api.get_hf_file_metadata(url=url, token=self._token)
        tag = found.etag or ""
        blobs = cache / f"models--{plan.name.replace('/', '--')}" / "blobs"
        if not _TAG.fullmatch(tag) or (blobs / tag).exists():
            return
        blobs.mkdir(parents=True, exist_ok=True)
        part = blobs / f"{tag}.part"
        same = urlsplit(found.location).netloc == urlsplit(url).netloc
        try:
            with FileLock(f"{part}.lock", timeout=0), part.open("ab") as opened:
                http_get(
                    found.location,
                    opened,
                    resume_size=opened.tell(),
                    headers=build_hf_headers(token=self._token if same else False),  # a key is for the Hub alone
                    expected_size=size,
                    displayed_filename=file,
                )
        except Timeout as error:
            raise UsageError(
                f"{plan.name} is being downloaded by another command", hint="Wait for it, or end it first."
            ) from error
        if len(tag) == _SHA256 and _sha256(part) != tag:
            part.unlink()
            raise self._away(f"{file} arrived damaged")
        part.replace(blobs / tag)

    def _asked(self, name: str, revision: str, ask: Callable[[], T]) -> T:
        from huggingface_hub import errors

        try:
            return ask()
        except errors.GatedRepoError as error:
            raise ModelNotFound(
                f"{name} is only given to those whom its owner has let in",
                hint=f"Ask for access on {self.endpoint}/{name}, and set {TOKEN} to a token of yours.",
            ) from error
        except errors.RevisionNotFoundError as error:
            raise ModelNotFound(f"{name} has no revision {revision!r}", hint="Leave --revision out.") from error
        except errors.RepositoryNotFoundError as error:
            hint = "Look at its spelling" + ("." if self._token else f", or set {TOKEN} where it is private.")
            raise ModelNotFound(f"the Hub has no model {name}", hint=hint) from error
        except errors.HFValidationError as error:
            raise UsageError(f"{name!r} is no model of the Hub's", hint="Write OWNER/NAME.") from error
        except (errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
            raise self._away(first_line(error)) from error
        except errors.HfHubHTTPError as error:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status in (401, 403):
                raise ModelNotFound(
                    f"the Hub does not let this token see {name}", hint=f"Set {TOKEN} to a token that may read it."
                ) from error
            raise self._away(f"it answered {status}" if status else first_line(error)) from error
        except _network_errors() as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise UsageError(
                    f"{error.filename} cannot be written: {error.strerror}", hint="Set HF_HOME to a folder that can."
                ) from error
            raise self._away(first_line(error)) from error

    def _away(self, why: str) -> EngineUnavailable:
        return EngineUnavailable(
            f"the Hub ({self.endpoint}) cannot be reached: {why}",
            hint="Check the network, a proxy (HTTPS_PROXY) or a mirror (HF_ENDPOINT); the same command goes on with"
            " the download. A model can also be copied into a folder and loaded by its path.",
        )


def _network_errors() -> tuple[type[Exception], ...]:
    """What the client's own HTTP library raises, and the system beneath it."""
    import httpx

    return (OSError, httpx.HTTPError, httpx.InvalidURL)


def _chosen(name: str, sizes: dict[str, int], patterns: Sequence[str]) -> list[str]:
    """The files to take. Raises UsageError where they have to be named."""
    if patterns:
        found = [file for file in sizes if any(fnmatch.fnmatch(file, pattern) for pattern in patterns)]
        missing = [one for one in patterns if not any(fnmatch.fnmatch(file, one) for file in sizes)]
        if missing:
            raise ModelNotFound(f"{name} has no file {missing[0]}", hint=f"It has {_some(sizes)}.")
        return found
    ggufs = [file for file in sizes if file.lower().endswith(".gguf")]
    models = [file for file in ggufs if PROJECTOR not in file.lower()]
    weights = [file for file in sizes if any(fnmatch.fnmatch(file, pattern) for pattern in _WEIGHTS)]
    if len(models) > 1 and not weights:
        raise UsageError(
            f"{name} holds {len(models)} GGUF files, each a model of its own",
            hint=f"Name what to download with --file, as in --file {models[0]}. It has {_some(ggufs)}.",
        )
    if not weights and not models:
        raise ModelNotFound(
            f"{name} has no weights that are loaded here: neither .safetensors nor .gguf",
            hint=f"Weights of other kinds may run code when they are loaded. It has {_some(sizes)}.",
        )
    small = [
        file
        for file in sizes
        if any(fnmatch.fnmatch(file, pattern) for pattern in _SMALL) and file.partition("/")[0] not in _FOR_OTHERS
    ]
    main = [file for file in weights if "/" not in file] or weights
    return sorted({*small, *(main if weights else ggufs)})


def _some(files: Iterable[str]) -> str:
    names = sorted(files)
    return ", ".join(names[:_MOST_NAMED]) + (
        f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    )


def _literal(name: str) -> str:
    """A file's name as a pattern that matches nothing else."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
