"""Every error that docflow raises, as one tree.

DocflowError
    UsageError                 the call or the command line is off            (exit code 2)
        ConfigError            a setting is unknown or out of range
        ProgramError           a program cannot be loaded, or raised
        SchemaError            a schema is empty, invalid or not supported
        NothingToDo            no document matched the source
    DocumentError              one document cannot be read: it becomes a failed row
        UnsupportedDocument    not a kind of file that docflow reads
        BrokenDocument         damaged, truncated or empty
        EncryptedDocument      needs a password
        LimitExceeded          larger than a limit allows
        DecoderDied            the decoding process crashed, hung or ran out of memory
        SourceUnreadable       the file cannot be opened
    ReadingError               OCR failed on a page
    EngineError                an engine could not answer
        EngineUnavailable      down, refusing, or not installed
            ModelNotFound      there is no such model, or it cannot be had
            BrokenModel        its files are damaged, or of a kind that the engine does not load
            NotEnoughMemory    it would need more memory than there is
            ModelBusy          it is being loaded or unloaded, or is loaded in another way
        EngineTimeout          did not answer in time
        EngineRefused          answered that the request is wrong
            CannotEmbed        the model gives no embeddings
        BadAnswer              answered something that is no answer
        NoEngine               no engine of the pool is usable                (exit code 3)
    StorageError               the dataset cannot be written or read
    DeployError                a deployment on a cluster failed              (exit code 1)
        CredentialsError       keys are missing, or refused                  (exit code 3)
        ResourcesError         more than there is, or than a limit allows    (exit code 4)
        ModelAccessError       the model is not there, or not for this token (exit code 5)
        DeployTimeout          not ready in time                             (exit code 6)
    WorkerDied                 processes that work for a run died, or are gone
    InternalError              a fault in docflow itself, or in a user's program

Each error knows the stage it belongs to, whether trying again can help, and what the user can do next.
"""

from __future__ import annotations

import os
import traceback
from typing import ClassVar


class DocflowError(Exception):
    """Base of every error that docflow raises on purpose.

    ``stage`` names the part of the work that failed, ``retryable`` tells whether the same call may succeed
    later, ``hint`` is one sentence on what the user can do (may be empty).
    """

    stage: ClassVar[str] = "run"
    retryable: bool = False
    hint: str = ""

    def __init__(self, message: str, *, hint: str | None = None, retryable: bool | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint
        if retryable is not None:
            self.retryable = retryable

    @property
    def message(self) -> str:
        """The error as one line, without its hint."""
        return str(self)


class UsageError(DocflowError):
    """The call or the command line is off."""

    stage = "usage"


class ConfigError(UsageError):
    """A setting is unknown or out of range."""


class ProgramError(UsageError):
    """A program cannot be loaded, or raised while it ran."""

    stage = "program"


class SchemaError(UsageError):
    """A schema is empty, invalid or not supported."""

    stage = "program"


class NothingToDo(UsageError):
    """No document matched the source."""

    stage = "source"


class DocumentError(DocflowError):
    """One document cannot be read; its neighbours are not touched by it."""

    stage = "decode"


class UnsupportedDocument(DocumentError):
    """The bytes are not of a kind that docflow reads."""

    hint = "docflow reads JPEG, PNG, WebP, BMP, GIF, TIFF and PDF (and HEIC with the extra docflow[heic])."


class BrokenDocument(DocumentError):
    """The file is empty, truncated or damaged."""

    hint = "Open the file in a viewer; if it is damaged there too, get a new copy."


class EncryptedDocument(DocumentError):
    """The document needs a password."""

    hint = "Remove the password and run again with --retry-failed."


class LimitExceeded(DocumentError):
    """The document is larger than a limit allows."""

    hint = "If you trust this file, raise the limit named in the message (docflow config shows them all)."


class DecoderDied(DocumentError):
    """The decoding process crashed, hung or ran out of memory on this document."""

    retryable = True
    hint = (
        "The file is probably damaged or hostile. If you trust it, "
        "raise limits.decode_seconds or limits.decode_memory_mb."
    )


class SourceUnreadable(DocumentError):
    """The file exists but cannot be opened."""

    stage = "source"
    retryable = True
    hint = "Check the permissions of the file and of its folder."


class ReadingError(DocflowError):
    """OCR failed on a page."""

    stage = "read"
    retryable = True


class EngineError(DocflowError):
    """An engine could not answer.

    ``retry_after`` is how many seconds the server asked to be left alone, where it did; ``no_room`` says that it has no
    room now, and not for how long. ``attempts`` counts how often the request was sent, to whatever server, before this
    error was final.
    """

    stage = "engine"
    retryable = True
    retry_after: float | None = None
    no_room: bool = False
    attempts: int = 1

    @property
    def busy(self) -> bool:
        """Whether the server is well, and has no room: it is waited for, and the request may go elsewhere."""
        return self.no_room or self.retry_after is not None


class EngineUnavailable(EngineError):
    """The engine is down, refuses connections, or is not installed."""


class ModelNotFound(EngineUnavailable):
    """There is no such model, or it cannot be had from where it is."""

    retryable = False


class BrokenModel(EngineUnavailable):
    """A model's files are damaged, or of a kind that the engine does not load."""

    retryable = False


class NotEnoughMemory(EngineUnavailable):
    """A model would need more memory than there is."""


class ModelBusy(EngineUnavailable):
    """A model is being loaded or unloaded, or is loaded in another way than it is asked for."""


class EngineTimeout(EngineError):
    """The engine did not answer in time."""


class EngineRefused(EngineError):
    """The engine says that the request itself is wrong; sending it again cannot help.

    ``elsewhere`` marks what only this server cannot do (the model it was asked for, the length of its context, the
    number of images): another one may.
    """

    retryable = False
    elsewhere: bool = False


class CannotEmbed(EngineRefused):
    """The model gives no embeddings."""


class BadAnswer(EngineError):
    """The engine answered something that is no answer: empty, truncated, not the JSON it was asked for."""

    hint = "Ask again with --retry-failed; where it stays so, docflow engines check URL tells what the server can do."


class NoEngine(EngineError):
    """No engine of the pool is usable."""


class StorageError(DocflowError):
    """The dataset cannot be written or read."""

    stage = "store"


class DeployError(DocflowError):
    """A deployment on a cluster failed. ``exit_code`` is what the command line ends with."""

    stage = "deploy"
    exit_code: ClassVar[int] = 1


class CredentialsError(DeployError):
    """The cluster's keys are missing, or it refuses them."""

    exit_code = 3


class ResourcesError(DeployError):
    """A deployment needs more than there is, or than a limit allows: GPUs, their memory, main memory."""

    exit_code = 4


class ModelAccessError(DeployError):
    """The model is not there, or the token may not read it."""

    exit_code = 5


class DeployTimeout(DeployError):
    """The model did not answer in time; what was started goes on."""

    retryable = True
    exit_code = 6


class WorkerDied(DocflowError):
    """Processes that worked for a run died over a document, or none of them can be reached any more."""

    retryable = True


class InternalError(DocflowError):
    """A fault in docflow itself: it costs the one document on which it showed, and its log says where."""

    hint = "This is a bug in docflow. Run with DOCFLOW_DEBUG=1 to see where, and please report it."


def debugging() -> bool:
    """Whether DOCFLOW_DEBUG asks for tracebacks and logs on stderr."""
    return os.environ.get("DOCFLOW_DEBUG", "") not in ("", "0")


def first_line(error: BaseException, most: int = 300) -> str:
    """What another library's error says, as one line of at most so many characters; its name where it says nothing."""
    return (str(error).strip().partition("\n")[0].strip() or type(error).__name__)[:most]


def stack_of(error: BaseException) -> str:
    """Where an error arose, without its message: a log may be sent along with a report, a document's text may not."""
    return "".join(traceback.format_tb(error.__traceback__)).rstrip()
