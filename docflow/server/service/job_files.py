"""A job on disk: a folder of its own that says whose it is, what was asked, and how far it is.

    jobs/ID/job.json   the job, whole after every change
    jobs/ID/in/000001  the documents, under numbers
    jobs/ID/out/       the dataset that its run writes

Everything belongs to this user alone. Several services may share a folder: who runs a job holds its lock.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from docflow.errors import StorageError
from docflow.server.service.uploads import Received
from docflow.storage.parts import write_whole

State = Literal["queued", "running", "waiting", "done", "failed", "deleted"]
FINISHED: tuple[State, ...] = ("done", "failed")
_ID = re.compile(r"[0-9a-f]{32}")
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class JobFile:
    """A document of a job. ``source`` is its name in the rows: no two of a job have the same."""

    source: str
    number: int
    size: int


@dataclass(slots=True)
class Job:
    """A job as it is kept. ``asked`` are the fields of the request; ``message`` says why it waits or failed."""

    id: str
    owner: str
    asked: dict[str, Any]
    files: list[JobFile]
    created_at: str
    state: State = "queued"
    message: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def now_text() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")


class JobFiles:
    """The jobs below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, job_id: str) -> Path:
        return self._folder / job_id

    def out(self, job: Job) -> Path:
        return self.path(job.id) / "out"

    def document(self, job: Job, file: JobFile) -> Path:
        return self.path(job.id) / "in" / f"{file.number:06}"

    def create(self, received: Received, asked: dict[str, Any], owner: str) -> Job:
        """A new job from what a request brought, whose folder becomes the job's. Raises StorageError."""
        sources: dict[str, int] = {}
        files = []
        for number, upload in enumerate(received.uploads, start=1):
            source = upload.name
            while source in sources:
                sources[upload.name] += 1
                stem, dot, suffix = upload.name.rpartition(".")
                source = f"{stem or suffix}~{sources[upload.name]}{dot if stem else ''}{suffix if stem else ''}"
            sources[source] = 1
            files.append(JobFile(source, number, upload.size))
        job = Job(secrets.token_hex(16), owner, asked, files, now_text())
        folder = self.path(job.id)
        try:
            making = self._folder / f".{job.id}"
            making.mkdir(mode=0o700)
            received.folder.rename(making / "in")
            self._write(making, job)
            making.rename(folder)
        except OSError as error:
            raise StorageError(f"the job cannot be kept: {error.strerror}") from error
        return job

    def save(self, job: Job) -> None:
        """Raises StorageError."""
        if self.path(job.id).is_dir():  # deleted meanwhile: nothing comes back
            self._write(self.path(job.id), job)

    def _write(self, folder: Path, job: Job) -> None:
        content = {"format": _FORMAT, **dataclasses.asdict(job)}
        write_whole(folder / "job.json", json.dumps(content, ensure_ascii=True).encode())

    def load(self, job_id: str) -> Job | None:
        """None where there is no such job, or none that can be read."""
        if not _ID.fullmatch(job_id):
            return None
        try:
            content = json.loads((self.path(job_id) / "job.json").read_bytes())
            if content.pop("format") != _FORMAT:
                return None
            files = [JobFile(**one) for one in content.pop("files")]
            return Job(files=files, **content)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def all(self) -> list[Job]:
        """Every job, the newest first."""
        with os.scandir(self._folder) as entries:
            names = [entry.name for entry in entries]
        found = [job for name in names if (job := self.load(name)) is not None]
        return sorted(found, key=lambda job: job.created_at, reverse=True)

    def remove(self, job_id: str) -> None:
        """Its files go. Whoever has one open may read it to its end."""
        gone = self._folder / f".gone-{job_id}"
        with contextlib.suppress(OSError):
            self.path(job_id).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def sweep(self, job_days: float) -> None:
        """Remove what was left half made or half removed, and jobs that finished long ago."""
        oldest = (dt.datetime.now(dt.UTC) - dt.timedelta(days=job_days)).isoformat(timespec="milliseconds")
        recent = dt.datetime.now().timestamp() - 3_600
        with os.scandir(self._folder) as entries:
            left = [entry.path for entry in entries if entry.name.startswith(".") and entry.stat().st_mtime < recent]
        for path in left:
            shutil.rmtree(path, ignore_errors=True)
        for job in self.all():
            if job.state in FINISHED and (job.finished_at or job.created_at) < oldest:
                self.remove(job.id)

    def size(self) -> int:
        """Bytes of all jobs."""
        total = 0
        for folder, _, names in os.walk(self._folder):
            for name in names:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(folder, name)).st_size
        return total

    @contextlib.contextmanager
    def locked(self, job_id: str) -> Iterator[bool]:
        """Within it, the job is this process's to run; False where it is another's. A kill gives it free."""
        try:
            descriptor = os.open(self.path(job_id) / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            yield False
            return
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True
        finally:
            os.close(descriptor)
