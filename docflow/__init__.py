"""docflow: typed, grounded records from document images and PDFs.

    import docflow

    run = docflow.extract("scans", program="receipt", out="receipts")
    for result in docflow.iter_records("scans", program="receipt"):
        print(result.source, result.record)
    docflow.open("receipts").pandas()

This is the public Python API and nothing else. Each name is imported when it is first used, because some of what stands
behind them takes seconds to import.
"""

from __future__ import annotations

import importlib
import logging
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docflow import errors
    from docflow.api import aiter_records, extract, iter_records, open  # noqa: A004 (read as docflow.open)
    from docflow.engines.scripted import ScriptedEngine
    from docflow.errors import (
        BadAnswer,
        BrokenDocument,
        BrokenModel,
        CannotEmbed,
        ConfigError,
        CredentialsError,
        DecoderDied,
        DeployError,
        DeployTimeout,
        DocflowError,
        DocumentError,
        EncryptedDocument,
        EngineError,
        EngineRefused,
        EngineTimeout,
        EngineUnavailable,
        InternalError,
        LimitExceeded,
        ModelAccessError,
        ModelBusy,
        ModelNotFound,
        NoEngine,
        NotEnoughMemory,
        NothingToDo,
        ProgramError,
        ReadingError,
        ResourcesError,
        SchemaError,
        SourceUnreadable,
        StorageError,
        UnsupportedDocument,
        UsageError,
        WorkerDied,
    )
    from docflow.extraction.result import ErrorInfo, Evidence, PageInfo, Result
    from docflow.fields.kinds import Address, Currency, Date, Identifier, Money, Party, Quantity, Text
    from docflow.loading import load_program
    from docflow.program import Program, images, instructions, program, schema_of
    from docflow.runs.model import Progress, Run
    from docflow.settings import Settings, load_settings
    from docflow.storage.dataset import Dataset

__all__ = [
    "Address",
    "BadAnswer",
    "BrokenDocument",
    "BrokenModel",
    "CannotEmbed",
    "ConfigError",
    "CredentialsError",
    "Currency",
    "Dataset",
    "Date",
    "DecoderDied",
    "DeployError",
    "DeployTimeout",
    "DocflowError",
    "DocumentError",
    "EncryptedDocument",
    "EngineError",
    "EngineRefused",
    "EngineTimeout",
    "EngineUnavailable",
    "ErrorInfo",
    "Evidence",
    "Identifier",
    "InternalError",
    "LimitExceeded",
    "ModelAccessError",
    "ModelBusy",
    "ModelNotFound",
    "Money",
    "NoEngine",
    "NotEnoughMemory",
    "NothingToDo",
    "PageInfo",
    "Party",
    "Program",
    "ProgramError",
    "Progress",
    "Quantity",
    "ReadingError",
    "ResourcesError",
    "Result",
    "Run",
    "SchemaError",
    "ScriptedEngine",
    "Settings",
    "SourceUnreadable",
    "StorageError",
    "Text",
    "UnsupportedDocument",
    "UsageError",
    "WorkerDied",
    "aiter_records",
    "errors",
    "extract",
    "images",
    "instructions",
    "iter_records",
    "load_program",
    "load_settings",
    "open",
    "program",
    "schema_of",
]

_HOMES = {
    "docflow.api": ("aiter_records", "extract", "iter_records", "open"),
    "docflow.engines.scripted": ("ScriptedEngine",),
    "docflow.extraction.result": ("ErrorInfo", "Evidence", "PageInfo", "Result"),
    "docflow.fields.kinds": ("Address", "Currency", "Date", "Identifier", "Money", "Party", "Quantity", "Text"),
    "docflow.loading": ("load_program",),
    "docflow.program": ("Program", "images", "instructions", "schema_of"),
    "docflow.runs.model": ("Progress", "Run"),
    "docflow.settings": ("Settings", "load_settings"),
    "docflow.storage.dataset": ("Dataset",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

logging.getLogger(__name__).addHandler(logging.NullHandler())  # a library logs only where its user wants it to


class _Package(ModuleType):
    """``docflow.program`` is the decorator, although importing the module of that name would put the module there."""

    @property
    def program(self) -> Any:
        return importlib.import_module("docflow.program").program

    @program.setter
    def program(self, module: ModuleType) -> None:
        """The import system puts a loaded submodule here; importing from that works all the same."""


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "errors":
        return importlib.import_module("docflow.errors")
    return getattr(importlib.import_module(_HOME_OF.get(name, "docflow.errors")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
