"""Options that more than one command takes, and the settings they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from docflow.settings import Settings

RUNNING = "How it runs"
READING = "How documents are read"

Engine = Annotated[
    list[str] | None,
    typer.Option(
        "--engine",
        "-e",
        metavar="ENGINE",
        help="Who answers: embedded, sglang=URL or vllm=URL, or a model in this process: llama_cpp=FILE.gguf, "
        "transformers=FOLDER or vllm=FOLDER. Given several times, they share the work. auto takes those that "
        "docflow engines up started here. The embedded engine needs no download, no network and no GPU.",
        show_default="embedded",
        rich_help_panel=RUNNING,
    ),
]
Fallback = Annotated[
    list[str] | None,
    typer.Option(
        "--fallback",
        metavar="ENGINE",
        help="Who answers while those are away, in the order given: as for --engine. embedded is a last resort: it "
        "answers when all servers stay away.",
        rich_help_panel=RUNNING,
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="Documents in work at once.",
        show_default="what the engine likes",
        rich_help_panel=RUNNING,
    ),
]
Runner = Annotated[
    str | None,
    typer.Option(
        metavar="RUNNER",
        help="Run in this process (direct), as a Prefect flow (prefect), over worker processes of this machine (dask) "
        "or of a Dask cluster (dask=tcp://HOST:PORT), or let the number of documents decide (auto).",
        show_default="auto",
        rich_help_panel=RUNNING,
    ),
]
Grounding = Annotated[
    Literal["full", "text-layer", "off"] | None,
    typer.Option(
        help="Where each value is looked up: among all words of its page, only those of a text layer, or not at all.",
        show_default="full",
        rich_help_panel=READING,
    ),
]
Locale = Annotated[
    str | None,
    typer.Option(
        metavar="LOCALE",
        help="The documents' locale, such as de_CH: it settles dates and numbers that can be read two ways.",
        rich_help_panel=READING,
    ),
]
OcrModel = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="A folder with det.onnx, rec.onnx and dict.txt, to read scripts that the built-in OCR lacks.",
        rich_help_panel=READING,
    ),
]
AcceptError = Annotated[
    str | None,
    typer.Option(
        metavar="SHARE",
        help="Mark the rows that need no look (column needs_review): at most this share of their values is expected "
        "to be wrong, as in 1%. Needs a calibration, which docflow calibrate makes.",
        rich_help_panel=READING,
    ),
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="Ask once more for each value whose confidence is under 0.8 (or extraction.verify_below). The embedded "
        "engine is not asked twice: it reads by rules and would say the same.",
        rich_help_panel=RUNNING,
    ),
]
CheapFirst = Annotated[
    bool,
    typer.Option(
        "--cheap-first",
        help="The embedded engine answers first, and ENGINE reads only what has a confidence under 0.8 "
        "(or extraction.cheap_first_below).",
        rich_help_panel=RUNNING,
    ),
]
Split = Annotated[
    bool,
    typer.Option(
        "--split",
        help="One file may hold several documents, such as a batch of scans: find where each begins, and give each a "
        "row with its pages (first_page, last_page).",
        rich_help_panel=READING,
    ),
]
Budget = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        metavar="LIMITS",
        help="Stop once so much is used, as in documents=1000,seconds=600,tokens=2000000,money=5: documents in work "
        "are finished, and the same command goes on. Money needs prices (costs; see docflow config).",
        rich_help_panel=RUNNING,
    ),
]


def local_file(text: str) -> Path:
    """A file or folder of this machine, as a path or a file URI. Raises UsageError for one elsewhere."""
    from docflow.buckets import is_uri, local_path
    from docflow.errors import UsageError

    if not is_uri(text):
        return Path(text)
    path = local_path(text)
    if path is None:
        raise UsageError(
            f"{text.partition('://')[0]}://...: this file can only be one of this machine",
            hint="Write it here, and copy it to where it should be.",
        )
    return path


MetricsFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Add the run's figures to this file (NAME.prom), which Prometheus' node exporter reads: documents, "
        "failures, speed, tokens, cost.",
        parser=local_file,
        rich_help_panel=RUNNING,
    ),
]
if TYPE_CHECKING:
    from docflow.buckets import Place as Place
else:
    Place = Path  # Typer takes no unions; the parser below makes one or the other


def place(text: str) -> Place:
    """OUT as a path or a place in a bucket. Raises UsageError for a URI that is neither."""
    from docflow.buckets import place_of

    return place_of(text)


Dataset = Annotated[
    Place,
    typer.Argument(
        metavar="OUT", help="The folder, or place in a bucket, that docflow extract wrote to.", parser=place
    ),
]


UNSURE = 0.8
"""The confidence under which --verify and --cheap-first ask again, where the settings name none."""


def second_opinions(settings: Settings, *, verify: bool, cheap_first: bool) -> Settings:
    """The settings with what --verify and --cheap-first turn on; a threshold that is set already stays."""
    wanted = {"verify_below": verify, "cheap_first_below": cheap_first}
    extraction = settings.extraction
    update = {name: UNSURE for name, on in wanted.items() if on and getattr(extraction, name) is None}
    return settings.model_copy(update={"extraction": extraction.model_copy(update=update)}) if update else settings


def given(
    *,
    engine: Sequence[str] | None,
    fallback: Sequence[str] | None,
    concurrency: int | None,
    runner: str | None,
    grounding: str | None,
    locale: str | None,
    ocr_model: Path | None,
    accept_error: str | None = None,
    split: bool = False,
    budget: Sequence[str] | None = None,
    metrics_file: Path | None = None,
) -> dict[str, Any]:
    """The settings that were given as flags, by key."""
    flags = {
        "engine": list(engine) if engine else None,
        "fallbacks": list(fallback) if fallback else None,
        "concurrency": concurrency,
        "runner": runner,
        "extraction.grounding": grounding,
        "extraction.locale": locale,
        "reading.ocr_model": ocr_model,
        "extraction.accept_error": None if accept_error is None else read_share(accept_error),
        "extraction.split": split or None,
        "telemetry.metrics_file": metrics_file,
        **read_budget(budget or ()),
    }
    return {key: value for key, value in flags.items() if value is not None}


def read_budget(texts: Sequence[str]) -> dict[str, str]:
    """Limits as they are typed, as settings by key. Raises UsageError for a limit that there is not."""
    from docflow.errors import UsageError
    from docflow.settings import BudgetSettings

    found = {}
    for text in (piece for given in texts for piece in given.split(",")):
        name, _, value = (piece.strip() for piece in text.partition("="))
        if name not in BudgetSettings.model_fields or not value:
            known = ", ".join(BudgetSettings.model_fields)
            raise UsageError(f"{text.strip()!r} is no budget", hint=f"Write NAME=NUMBER; the names are {known}.")
        found[f"budget.{name}"] = value
    return found


def read_share(text: str) -> float:
    """A share as it is typed: ``1%`` or ``0.01``. Raises UsageError for what is none, and for a half or more."""
    from docflow.errors import UsageError

    number, percent, _ = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 0.5:
        raise UsageError(f"{text!r} is no share of errors", hint="Write 1% or 0.01.")
    return value
