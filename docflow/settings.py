"""Configuration: ``docflow.toml`` or ``[tool.docflow]`` in ``pyproject.toml``, then ``DOCFLOW_...``, then flags.

Read at the edge (CLI, Python API); everything below takes plain arguments. Unknown keys are refused.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

Grounding = Literal["full", "text-layer", "off"]
"""Where values are looked up: every page's words, only words of a file's own text layer, or not at all."""


def default_cache_dir() -> Path:
    """docflow's folder in the user's cache (XDG base directory specification)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "docflow"


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DecodeLimits(_Group):
    """What a document may cost before it is refused. Raise a limit only for files that you trust."""

    file_mb: Annotated[float, Field(gt=0)] = Field(256, description="largest file, in MiB")
    pixels: Annotated[int, Field(gt=0)] = Field(100_000_000, description="most pixels of one image or frame")
    pages: Annotated[int, Field(gt=0)] = Field(2_000, description="most pages or frames of one document")
    page_points: Annotated[float, Field(gt=0)] = Field(
        14_400, description="longest side of a PDF page, in points (14,400 is PDF's own limit)"
    )
    words: Annotated[int, Field(gt=0)] = Field(200_000, description="most words of one PDF page's text layer")
    decode_seconds: Annotated[float, Field(gt=0)] = Field(60, description="longest time to decode one page")
    decode_memory_mb: Annotated[int, Field(ge=256)] = Field(2_048, description="most memory of a decoder process, in MiB")
    recycle_after: Annotated[int, Field(gt=0)] = Field(500, description="documents after which a decoder is replaced")


class ReadingSettings(_Group):
    """How pages without a text layer are read."""

    max_side: Annotated[int, Field(ge=64)] = Field(2_000, description="longest side of the image given to OCR, in pixels")
    pdf_dpi: Annotated[int, Field(ge=36, le=600)] = Field(200, description="resolution at which scanned PDF pages are rasterised")
    ocr_model: Path | None = Field(None, description="folder with det.onnx, rec.onnx and dict.txt to use in place of the built-in OCR models")
    ocr_seconds: Annotated[float, Field(gt=0)] = Field(120, description="longest time for OCR of one page")
    cache: bool = Field(True, description="keep the words of pages that were read, so that no page is read twice")
    cache_mb: Annotated[float, Field(gt=0)] = Field(1_024, description="size of the words cache, in MiB")


class ExtractionSettings(_Group):
    """How one document goes through one program."""

    grounding: Grounding = Field("full", description="where values are looked up: full, text-layer or off")
    repairs: Annotated[int, Field(ge=0, le=10)] = Field(1, description="how often failing fields are asked again")
    pages_per_call: Annotated[int, Field(ge=1)] | None = Field(None, description="most pages in one call (all when not set)")
    max_tokens: Annotated[int, Field(ge=1)] = Field(4_096, description="longest answer, in tokens")
    timeout_seconds: Annotated[float, Field(gt=0)] = Field(300, description="longest time for one answer of an engine")
    locale: str | None = Field(None, description="the documents' locale (such as de_CH), for dates and numbers that can be read two ways")


class Settings(BaseSettings):
    """Every setting of docflow, with its default."""

    model_config = SettingsConfigDict(
        env_prefix="DOCFLOW_", env_nested_delimiter="__", extra="forbid", frozen=True, nested_model_default_partial_update=True
    )

    cache_dir: Path = Field(default_factory=default_cache_dir, description="where words, decoders' scratch files and the embedded Prefect server live")
    engine: str = Field("embedded", description="the engine that answers: a name, or NAME=URL")
    concurrency: Annotated[int, Field(ge=1, le=1024)] | None = Field(None, description="documents in work at once (by default as many as the engine likes)")
    runner: str = Field("auto", description="auto, direct or prefect")
    limits: DecodeLimits = DecodeLimits()
    reading: ReadingSettings = ReadingSettings()
    extraction: ExtractionSettings = ExtractionSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _FileSource(settings_cls)


class _FileSource(PydanticBaseSettingsSource):
    """``docflow.toml``, else ``[tool.docflow]`` of ``pyproject.toml``, in the working directory."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return read_config_file()[1]


def read_config_file(folder: Path | None = None) -> tuple[Path | None, dict[str, Any]]:
    """The configuration file of ``folder`` (default: the working directory) and what it says.

    Raises ConfigError when the file is no TOML.
    """
    import tomllib

    from docflow.errors import ConfigError

    folder = folder or Path.cwd()
    for name, keys in (("docflow.toml", ()), ("pyproject.toml", ("tool", "docflow"))):
        path = folder / name
        if not path.is_file():
            continue
        try:
            table: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
        for key in keys:
            table = table.get(key, {}) if isinstance(table, dict) else {}
        if table or not keys:
            return path, dict(table)
    return None, {}
