"""Object stores: paths in Amazon S3 and what speaks its protocol (``s3://``), Google Cloud Storage (``gs://``) and
Azure Blob Storage (``az://``).

A ``BucketPath`` has the names and the errors (OSError) of a ``pathlib.Path`` as far as docflow uses one, so that most
code need not know which of the two it has. There are no folders in a bucket, only keys with slashes in them, and
nothing can be renamed: an object appears whole with the one request that puts it there, or not at all.

Credentials come from the environment and the store's own configuration files, never from a URI. The extra
``docflow[cloud]`` is imported when the first path is used.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import fnmatch
import functools
import importlib.util
import os
import posixpath
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar
from urllib.parse import unquote_to_bytes, urlsplit

from docflow.errors import StorageError, UsageError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config

SCHEMES = {"s3": "s3", "gs": "gs", "gcs": "gs", "az": "az", "azure": "az"}
"""What a URI may begin with, and the name that it goes by in a dataset."""
LIST_PAGE = 1000
"""Objects that are in memory at once while a bucket is listed: what the stores send at most in one answer."""
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_CODE = re.compile(r"(?:<Code>|\"reason\": \")(\w+)")
_KEY = re.compile(r'Path "(.*?)" contained|parsing Path "(.*?)":', re.DOTALL)
NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
"""What stores answer (the ``strerror`` of a FileNotFoundError) where not even the bucket is there."""
_STATUS = re.compile(r"status code: (\d{3}[^:\n]*)")


class BucketError(StorageError, OSError):
    """A store does not answer, or refuses: an error of the system, and docflow's own where nobody says more of it."""

    def __init__(self, number: int, reason: str, path: str) -> None:
        OSError.__init__(self, number, reason, path)
        self.retryable = number == errno.EIO
        self.hint = "Check that the store can be reached, and what the credentials in the environment allow."

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def is_uri(text: str) -> bool:
    """Whether a text names a place by URI, of whatever kind."""
    return _URI.match(text) is not None


def local_path(uri: str) -> Path | None:
    """The path that a file URI names; None for a URI of another kind. Raises UsageError for a file elsewhere."""
    if not uri.lower().startswith("file://"):
        return None
    parsed = urlsplit(uri)
    if parsed.netloc not in ("", "localhost") or not parsed.path:
        raise UsageError(f"{uri}: only files of this machine can be named so", hint="Write file:///PATH.")
    return Path(os.fsdecode(unquote_to_bytes(parsed.path)))


def place_of(text: str | os.PathLike[str] | BucketPath) -> Place:
    """The place that a path or a URI (``file://``, ``s3://``, ``gs://``, ``az://``) names.

    Raises UsageError for a URI of another kind, and where the extra ``docflow[cloud]`` is missing.
    """
    if isinstance(text, BucketPath):
        return text
    if not isinstance(text, str) or not is_uri(text):
        return Path(text)
    return local_path(text) or BucketPath.of(text)


@dataclass(frozen=True, slots=True, order=True)
class BucketPath:
    """An object in a bucket, or what keys below it have in common. ``key`` has no slash at its ends.

    ``size`` (bytes), ``etag`` and ``modified`` are known for objects that a listing gave, or ``stat``.
    """

    scheme: str
    bucket: str
    key: str = ""
    size: int | None = field(default=None, compare=False)
    etag: str | None = field(default=None, compare=False)
    modified: dt.datetime | None = field(default=None, compare=False)

    @classmethod
    def of(cls, uri: str) -> BucketPath:
        """The path of a URI. Raises UsageError for one that names no bucket, or more than bucket and key."""
        match = _URI.match(uri)
        scheme = SCHEMES.get(match[1].lower()) if match else None
        if match is None or scheme is None:
            raise UsageError(f"{_without_secrets(uri)}: docflow knows s3://, gs://, az:// and file://")
        bucket, _, key = match[2].partition("/")
        if not bucket or "@" in bucket or ":" in bucket:
            raise UsageError(
                f"{_without_secrets(uri)} names no bucket",
                hint=f"Write {scheme}://BUCKET/KEY. Credentials and the store's address come from the environment.",
            )
        key = key.strip("/")
        if any(part in ("", ".", "..") for part in key.split("/")) and key:
            raise UsageError(f"{uri}: a key with an empty part, . or .. cannot be used")
        if importlib.util.find_spec("obstore") is None:
            raise UsageError(
                f"{uri} needs an extra that is not installed", hint="Install it with: pip install 'docflow[cloud]'"
            )
        return cls(scheme, bucket, key)

    # --- names --------------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}" if self.key else f"{self.scheme}://{self.bucket}"

    def __truediv__(self, name: str | os.PathLike[str]) -> BucketPath:
        below = os.fspath(name)
        return BucketPath(self.scheme, self.bucket, f"{self.key}/{below}" if self.key else below)

    @property
    def name(self) -> str:
        return posixpath.basename(self.key)

    @property
    def stem(self) -> str:
        return posixpath.splitext(self.name)[0]

    @property
    def suffix(self) -> str:
        return posixpath.splitext(self.name)[1]

    @property
    def parent(self) -> BucketPath:
        return BucketPath(self.scheme, self.bucket, posixpath.dirname(self.key))

    def with_name(self, name: str) -> BucketPath:
        return self.parent / name

    def is_absolute(self) -> bool:
        return True

    def absolute(self) -> BucketPath:
        return self

    # --- what is there ------------------------------------------------------------------------------------------

    def stat(self) -> BucketPath:
        """The same path with size, ETag and time of its last change. Raises FileNotFoundError, OSError."""
        import obstore

        if not self.key:
            raise FileNotFoundError(errno.ENOENT, "a bucket is no object", str(self))
        meta = _ask(self, lambda: obstore.head(_store(self.scheme, self.bucket), self.key))
        return replace(self, size=meta["size"], etag=meta["e_tag"], modified=meta["last_modified"])

    def is_file(self) -> bool:
        try:
            self.stat()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether any key lies below this one."""
        try:
            return next(self.objects(), None) is not None
        except FileNotFoundError:  # no such bucket
            return False
        except OSError as error:
            if error.errno == errno.EINVAL:  # one that cannot be used, but lies there
                return True
            raise

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def objects(self, after: str | None = None) -> Iterator[BucketPath]:
        """Every object below this path, in the order of the bytes of their keys, listed a page at a time.

        ``after`` begins after this key. Raises OSError, on the way too.
        """
        import obstore

        with _store_errors(self):
            stream = obstore.list(
                _store(self.scheme, self.bucket), self.key or None, offset=after, chunk_size=LIST_PAGE
            )
        while True:
            page = _ask(self, lambda: next(stream, None))
            if page is None:
                return
            for meta in page:
                yield BucketPath(
                    self.scheme, self.bucket, meta["path"], meta["size"], meta["e_tag"], meta["last_modified"]
                )

    def iterdir(self) -> Iterator[BucketPath]:
        """What lies directly below this path: objects, and what keys further below have in common."""
        import obstore

        found = _ask(self, lambda: obstore.list_with_delimiter(_store(self.scheme, self.bucket), self.key or None))
        for meta in found["objects"]:
            yield BucketPath(self.scheme, self.bucket, meta["path"], meta["size"], meta["e_tag"], meta["last_modified"])
        for prefix in found["common_prefixes"]:
            yield BucketPath(self.scheme, self.bucket, prefix)

    def glob(self, pattern: str) -> Iterator[BucketPath]:
        """What lies directly below this path and matches: a pattern has no slash. Nothing where there is no bucket."""
        with contextlib.suppress(FileNotFoundError):
            yield from (path for path in self.iterdir() if fnmatch.fnmatchcase(path.name, pattern))

    # --- what is in it ------------------------------------------------------------------------------------------

    def read_bytes(self) -> bytes:
        """The whole object. Raises FileNotFoundError, OSError."""
        import obstore

        return _ask(self, lambda: bytes(obstore.get(_store(self.scheme, self.bucket), self.key).bytes()))

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def read_range(self, start: int, length: int) -> bytes:
        """Some bytes of the object, all of which must be there. Raises FileNotFoundError, OSError."""
        import obstore

        if length <= 0:
            return b""

        def get() -> bytes | None:
            try:
                return bytes(obstore.get_range(_store(self.scheme, self.bucket), self.key, start=start, length=length))
            except obstore.exceptions.GenericError as error:
                if "non-partial" not in str(error):
                    raise
                return None

        content = _ask(self, get)
        if content is not None:
            return content
        # Some servers of the S3 protocol answer a part with the status of the whole, which the client does not trust.
        return self.read_up_to(start + length)[start : start + length]

    def read_up_to(self, limit: int) -> bytes:
        """The object, or at least its first ``limit`` bytes where it is longer. Raises FileNotFoundError, OSError."""
        import obstore

        def get() -> bytes:
            content = bytearray()
            answer = obstore.get(_store(self.scheme, self.bucket), self.key)
            for piece in answer.stream(min_chunk_size=min(limit, 1 << 20)):
                content += piece
                if len(content) >= limit:
                    break
            return bytes(content)

        return _ask(self, get)

    # --- what is put there --------------------------------------------------------------------------------------

    def write_bytes(self, content: bytes | memoryview) -> None:
        """Put an object in one request: it appears whole or not at all. Raises OSError."""
        import obstore

        store, whole = _store(self.scheme, self.bucket), bytes(content)
        # Never in several pieces: those could be left behind, to be paid for, by a kill.
        _ask(self, lambda: obstore.put(store, self.key, whole, use_multipart=False))

    def create(self, content: bytes) -> bool:
        """Put an object where there is none, in one request; False where there is one with other bytes.

        Of several that try at once one wins. Those that bring the same bytes all do: an answer that got lost is not
        told from another's success otherwise. Raises OSError, also where the store takes no such condition.
        """
        import obstore

        _must_heed_conditions(self)
        try:
            store = _store(self.scheme, self.bucket)
            _ask(self, lambda: obstore.put(store, self.key, content, mode="create", use_multipart=False))
        except FileExistsError:
            return self.read_bytes() == content
        return True

    def unlink(self, missing_ok: bool = False) -> None:
        """Take the object away. Stores do not tell whether there was one. Raises OSError."""
        import obstore

        try:
            _ask(self, lambda: obstore.delete(_store(self.scheme, self.bucket), self.key))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def reach(self) -> None:
        """Ask the store for this place once, without patience: for a clear word before any work. Raises OSError."""
        import obstore

        store = _store(self.scheme, self.bucket, patient=False)

        def look() -> None:
            with contextlib.suppress(obstore.exceptions.InvalidPathError):
                next(obstore.list(store, self.key or None, chunk_size=1), None)

        _ask(self, look)


Place: TypeAlias = Path | BucketPath
"""Where files are: on this machine or in a bucket."""


def listed(folder: Place, pattern: str) -> list[Place]:
    """What lies directly in a folder and matches, sorted by name; nothing where there is no such folder."""
    found: list[Place] = [*folder.glob(pattern)]
    return sorted(found, key=str)


# --- stores -------------------------------------------------------------------------------------------------------


@functools.cache
def _store(scheme: str, bucket: str, patient: bool = True) -> ObjectStore:
    """The client of one bucket; one a process, safe to use from several threads.

    A server that answers 500 or 503 is asked again for about 40 s (5 s where not ``patient``), one that takes
    connections and says nothing for two to three minutes (half a minute).
    """
    from obstore import store

    second = dt.timedelta(seconds=1)
    retries: RetryConfig = {
        "max_retries": 8 if patient else 5,
        "retry_timeout": (120 if patient else 20) * second,
        "backoff": {"init_backoff": 0.2 * second, "max_backoff": (15 if patient else 2) * second, "base": 2},
    }
    client: ClientConfig = {
        "connect_timeout": 10 * second,
        "read_timeout": (60 if patient else 10) * second,
        "timeout": 600 * second,
    }
    with _store_errors(BucketPath(scheme, bucket)):
        if scheme == "s3":
            config = _aws_profile()
            address = config.get("endpoint") or _first(_AWS_ENDPOINTS) or ""
            client["allow_http"] = address.startswith("http://")
            return store.S3Store(bucket, config=config, client_options=client, retry_config=retries)
        if scheme == "gs":
            return store.GCSStore(bucket, client_options=client, retry_config=retries)
        client["allow_http"] = bool(os.environ.get("AZURE_STORAGE_USE_EMULATOR"))
        return store.AzureStore(bucket, client_options=client, retry_config=retries)


def forget_clients() -> None:
    """Make clients anew: for who changed the environment that they were made from."""
    _store.cache_clear()
    _heeds_conditions.cache_clear()


_AWS_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_AWS_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_AWS_OTHERS = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_SKIP_SIGNATURE")


def _first(names: tuple[str, ...]) -> str | None:
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _aws_profile() -> S3Config:
    """What ~/.aws/credentials and ~/.aws/config say for the profile, of all that the environment leaves open."""
    import configparser

    name = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or "default"
    found: dict[str, str] = {}
    for variable, standard, section in (
        ("AWS_CONFIG_FILE", "~/.aws/config", name if name == "default" else f"profile {name}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", name),
    ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(os.path.expanduser(os.environ.get(variable) or standard))
        except (configparser.Error, UnicodeDecodeError):
            continue  # its text may hold a secret: the store's own "no credentials" has to do
        if parser.has_section(section):
            found |= parser.items(section)
    config: S3Config = {}
    if not os.environ.get("AWS_ACCESS_KEY_ID") and not _first(_AWS_OTHERS):
        if found.get("aws_access_key_id") and found.get("aws_secret_access_key"):
            config["access_key_id"] = found["aws_access_key_id"]
            config["secret_access_key"] = found["aws_secret_access_key"]
        if found.get("aws_session_token"):
            config["session_token"] = found["aws_session_token"]
    if not _first(_AWS_REGIONS) and found.get("region"):
        config["region"] = found["region"]
    if not _first(_AWS_ENDPOINTS) and found.get("endpoint_url"):
        config["endpoint"] = found["endpoint_url"]
    return config


@functools.cache
def _heeds_conditions(scheme: str, bucket: str, folder: str) -> bool:
    """Whether the store refuses to put an object where there is one: some servers of the S3 protocol do it all the
    same, without a word, and whoever relies on it would lose data."""
    import obstore

    store, key = _store(scheme, bucket), posixpath.join(folder, f".probe-{uuid.uuid4().hex}")

    def try_it() -> bool:
        obstore.put(store, key, b"1", use_multipart=False)
        try:
            obstore.put(store, key, b"2", mode="create", use_multipart=False)
        except obstore.exceptions.AlreadyExistsError:
            return True
        finally:
            obstore.delete(store, key)
        return False

    return _ask(BucketPath(scheme, bucket, key), try_it)


def _must_heed_conditions(path: BucketPath) -> None:
    if not _heeds_conditions(path.scheme, path.bucket, posixpath.dirname(path.key)):
        raise BucketError(
            errno.ENOTSUP, "the store overwrites objects that were to be created (it ignores If-None-Match)", str(path)
        )


# --- asking -------------------------------------------------------------------------------------------------------

HURRIED_SECONDS = 5.0
"""How long a store may take for an answer once the command is to end."""
_LOOK_SECONDS = 0.25

T = TypeVar("T")


class _Hurry:
    """Whether the command is to end, since when, and whether a store was left without an answer since."""

    def __init__(self) -> None:
        self.since: float | None = None
        self.given_up = False

    def is_over(self, asked_at: float) -> bool:
        """Whether what was asked then is waited for no more."""
        since = self.since
        if since is None:
            return False
        return self.given_up or time.monotonic() >= max(since, asked_at) + HURRIED_SECONDS


_hurry = _Hurry()


def hurry() -> None:
    """The command is to end: a store that does not answer within seconds is left, and not waited for again."""
    _hurry.since = _hurry.since or time.monotonic()


def take_time() -> None:
    """Nobody is in a hurry any more."""
    _hurry.since, _hurry.given_up = None, False


def _ask(path: BucketPath, call: Callable[[], T]) -> T:
    """What a store answers, with its errors as the system's.

    It is asked in a thread that can be left behind: the client hears no signal while it waits, which may be minutes.
    """
    answer: Future[T] = Future()

    def ask() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:  # noqa: BLE001 (raised where it was asked)
            answer.set_exception(error)

    asked_at = time.monotonic()
    threading.Thread(target=ask, name="docflow-store", daemon=True).start()
    while not wait((answer,), _LOOK_SECONDS).done:
        if _hurry.is_over(asked_at):
            _hurry.given_up = True
            raise BucketError(errno.EIO, "the store had not answered when the command was ended", str(path))
    with _store_errors(path):
        return answer.result()


# --- errors -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _store_errors(path: BucketPath) -> Iterator[None]:
    """The store's errors as the system's: with its code, without its text, which may hold a signed URL."""
    from obstore import exceptions as theirs

    try:
        yield
    except (FileNotFoundError, theirs.NotFoundError) as error:
        raise FileNotFoundError(errno.ENOENT, _reason(error, "there is no such object"), str(path)) from None
    except (theirs.AlreadyExistsError, theirs.PreconditionError):
        raise FileExistsError(errno.EEXIST, "there is such an object", str(path)) from None
    except (theirs.PermissionDeniedError, theirs.UnauthenticatedError) as error:
        why = _reason(error, "it does not say why")
        raise BucketError(errno.EACCES, f"the store refuses access: {why}", str(path)) from None
    except theirs.InvalidPathError as error:
        key = _KEY.search(str(error))
        name = f": {key[1] or key[2]!r}" if key else ""
        raise BucketError(errno.EINVAL, f"a key lies there that cannot be used{name}", str(path)) from None
    except theirs.BaseError as error:
        reason = _reason(error, "the store does not answer")
        if reason in NO_BUCKET:
            raise FileNotFoundError(errno.ENOENT, reason, str(path)) from None
        raise BucketError(errno.EIO, reason, str(path)) from None


def _reason(error: Exception, otherwise: str) -> str:
    """The store's own code or HTTP status, never its text."""
    text = str(error)
    code, status = _CODE.search(text), _STATUS.search(text)
    if code:
        return code[1]
    if status:
        return f"HTTP {status[1].strip()}"
    if "error sending request" in text or "HTTP error" in text:
        return "the store does not answer"
    if "instance metadata" in text.lower() or "169.254.169.254" in text or "metadata" in text.lower():
        return "no credentials were found"
    return otherwise


def _without_secrets(uri: str) -> str:
    """A URI that may have been given with a password or a signature: without either."""
    return re.sub(r"\?.*", "", re.sub(r"//[^/@]*@", "//", uri), flags=re.DOTALL)
