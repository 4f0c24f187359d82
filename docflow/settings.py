"""Configuration: ``docflow.toml`` or ``[tool.docflow]`` in ``pyproject.toml``, then ``DOCFLOW_...``, then flags.

Read at the edge (CLI, Python API); everything below takes plain arguments. Unknown keys are refused.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from docflow.errors import ConfigError

Grounding = Literal["full", "text-layer", "off"]
"""Where values are looked up: every page's words, only words of a file's own text layer, or not at all."""

Merge = Literal["best", "first", "conflict"]
"""What becomes of a leaf about which windows of pages disagree: the surest value, the first, or a null."""


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
    decode_memory_mb: Annotated[int, Field(ge=256)] = Field(
        2_048, description="most memory of a decoder process, in MiB"
    )
    recycle_after: Annotated[int, Field(gt=0)] = Field(500, description="documents after which a decoder is replaced")


class ReadingSettings(_Group):
    """How pages without a text layer are read."""

    max_side: Annotated[int, Field(ge=64)] = Field(
        2_000, description="longest side of the image given to OCR, in pixels"
    )
    pdf_dpi: Annotated[int, Field(ge=36, le=600)] = Field(
        200, description="resolution at which scanned PDF pages are rasterised"
    )
    ocr_model: Path | None = Field(
        None, description="folder with det.onnx, rec.onnx and dict.txt to use in place of the built-in OCR models"
    )
    ocr_seconds: Annotated[float, Field(gt=0)] = Field(120, description="longest time for OCR of one page")
    ocr_recycle_after: Annotated[int, Field(gt=0)] = Field(
        1_000, description="pages after which an OCR process is replaced"
    )
    cache: bool = Field(True, description="keep the words of pages that were read, so that no page is read twice")
    cache_mb: Annotated[float, Field(gt=0)] = Field(1_024, description="size of the words cache, in MiB")


class ExtractionSettings(_Group):
    """How one document goes through one program."""

    grounding: Grounding = Field("full", description="where values are looked up: full, text-layer or off")
    repairs: Annotated[int, Field(ge=0, le=10)] = Field(1, description="how often failing fields are asked again")
    pages_per_call: Annotated[int, Field(ge=1)] | None = Field(
        None, description="most pages in one call (all when not set)"
    )
    split: bool = Field(
        False, description="whether one file may hold several documents, which are found and get a row each"
    )
    merge: Merge = Field(
        "best", description="where calls about other pages disagree: best (the surest value), first, or conflict (null)"
    )
    verify_below: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="values whose confidence is lower are asked for once more (none when not set)"
    )
    cheap_first_below: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="the embedded engine answers first, the chosen one only what is less sure (off when not set)",
    )
    max_tokens: Annotated[int, Field(ge=1)] = Field(4_096, description="longest answer, in tokens")
    page_tokens: Annotated[int, Field(ge=16, le=16_384)] | None = Field(
        None,
        description="most image tokens of a page, 28 x 28 pixels each (what the program says, or 1,280, when not set)",
    )
    timeout_seconds: Annotated[float, Field(gt=0)] = Field(300, description="longest time for one answer of an engine")
    locale: str | None = Field(
        None, description="the documents' locale (such as de_CH), for dates and numbers that can be read two ways"
    )
    calibration: Path | None = Field(
        None, description="the calibration.json to use (OUT's own when not set, where docflow calibrate made one)"
    )
    accept_error: Annotated[float, Field(ge=0, lt=0.5)] | None = Field(
        None, description="share of wrong values that rows may let through unseen, to mark those that need no look"
    )


class ServerSettings(_Group):
    """How servers are spoken to, and what becomes of requests when they fail."""

    api_key: SecretStr | None = Field(None, description="the key that servers want (their --api-key)")
    connect_seconds: Annotated[float, Field(gt=0)] = Field(5, description="longest time to connect to a server")
    requests: Annotated[int, Field(ge=1, le=1024)] = Field(
        64, description="most requests at one server at once (SGLang stops sorting by prefix above 128 waiting)"
    )
    failures: Annotated[int, Field(ge=1)] = Field(3, description="failures in a row after which a server is left alone")
    rest_seconds: Annotated[float, Field(gt=0)] = Field(
        5, description="how long it is left alone the first time (twice as long each further time, at most 60)"
    )
    health_seconds: Annotated[float, Field(gt=0)] = Field(
        2, description="seconds between looks at servers that are left alone"
    )
    wait_seconds: Annotated[float, Field(ge=0)] = Field(
        120, description="how long documents wait while no server is usable: a restart takes 60 to 90 s"
    )
    last_resort_seconds: Annotated[float, Field(ge=0)] = Field(
        30, description="how long all servers must be away before a fallback without a server answers (embedded)"
    )


class CostSettings(_Group):
    """What tokens and servers cost. Nothing is estimated from prices that are not set."""

    currency: str = Field("", description="what the prices are in, as a label, such as USD")
    prompt_million: Annotated[float, Field(ge=0)] | None = Field(None, description="price of a million prompt tokens")
    cached_million: Annotated[float, Field(ge=0)] | None = Field(
        None, description="price of a million prompt tokens that were cached (as other prompt tokens when not set)"
    )
    output_million: Annotated[float, Field(ge=0)] | None = Field(None, description="price of a million output tokens")
    server_hour: Annotated[float, Field(ge=0)] | None = Field(None, description="price of a server for an hour")
    servers: Annotated[int, Field(ge=1)] = Field(1, description="servers that are paid for while a run lasts")


class BudgetSettings(_Group):
    """What one run may use before it stops: documents in work are finished, and the same command goes on."""

    documents: Annotated[int, Field(ge=1)] | None = Field(None, description="most documents of a run")
    seconds: Annotated[float, Field(gt=0)] | None = Field(None, description="longest time of a run, in seconds")
    tokens: Annotated[int, Field(ge=1)] | None = Field(None, description="most tokens of a run, prompts and answers")
    money: Annotated[float, Field(gt=0)] | None = Field(
        None, description="most money for a run, by the prices of costs"
    )


class CompactSettings(_Group):
    """How ``docflow compact`` merges the parts of a dataset."""

    part_mb: Annotated[float, Field(gt=0)] = Field(128, description="size that merged parts have at most, in MiB")
    grace_seconds: Annotated[float, Field(ge=0)] = Field(
        3_600, description="how long parts stay that were merged, for whoever is reading them"
    )


class RetentionSettings(_Group):
    """How long things are kept. Applied at the end of runs and by ``docflow compact``; for ever where not set."""

    documents_days: Annotated[float, Field(gt=0)] | None = Field(
        None, description="days from its newest row after which a document is forgotten, with all that is kept of it"
    )
    words_days: Annotated[float, Field(gt=0)] | None = Field(
        None, description="days after which the words of pages go from the cache that nobody has read since"
    )
    runs_days: Annotated[float, Field(gt=0)] | None = Field(
        None, description="days after which the summaries of runs go (OUT/runs)"
    )


class ServeSettings(_Group):
    """The service (``docflow serve``): where it listens, who may use it, and what a request may cost."""

    host: str = Field("127.0.0.1", description="address that docflow serve listens on; others than 127.0.0.1 need keys")
    port: Annotated[int, Field(ge=0, le=65_535)] = Field(8_000, description="port of docflow serve")
    keys: SecretStr | None = Field(
        None, description="who may use the service: NAME=KEY or NAME:admin=KEY, several with ; between them"
    )
    upload_bytes: Annotated[int, Field(ge=1)] = Field(
        10_485_760, description="largest upload of one request, in bytes (10 MiB)"
    )
    job_bytes: Annotated[int, Field(ge=1)] = Field(
        268_435_456, description="largest upload of one job, in bytes (256 MiB)"
    )
    request_bytes: Annotated[int, Field(ge=1)] = Field(
        33_554_432, description="largest JSON body of a request, images in it included, in bytes (32 MiB)"
    )
    body_seconds: Annotated[float, Field(gt=0)] = Field(
        30, description="longest silence of a client that sends a request, in seconds"
    )
    image_side: Annotated[int, Field(ge=28)] = Field(
        1_280, description="longest side of an image that a model is shown in a conversation, in pixels"
    )
    max_tokens: Annotated[int, Field(ge=1)] = Field(
        512, description="most tokens of an answer of /generate, /vision and /multimodal; more is lowered to it"
    )
    model: str = Field("", description="model that the service asks for where a request names none")
    models: bool = Field(False, description="whether the service runs models by name itself (the group models)")
    context: Annotated[int, Field(ge=64)] = Field(
        8_192, description="tokens that a conversation may have, its answer included"
    )
    block_size: Annotated[int, Field(ge=1, le=256)] = Field(
        16, description="tokens of a block of the KV cache, for engines that docflow starts"
    )
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = Field(
        0.9, description="share of a GPU's memory that an engine takes which docflow starts"
    )
    tensor_parallel_size: Annotated[int, Field(ge=1)] = Field(
        1, description="GPUs that share a model, for engines that docflow starts"
    )
    requests: Annotated[int, Field(ge=1)] = Field(256, description="requests in work at once; more wait")
    waiting: Annotated[int, Field(ge=0)] = Field(
        512, description="requests that wait; more are told to come back (503)"
    )
    conversations: Annotated[int, Field(ge=1)] = Field(1_000, description="conversations that are kept")
    conversation_seconds: Annotated[float, Field(gt=0)] = Field(
        3_600, description="how long a conversation is kept after its last turn, in seconds"
    )
    data_dir: Path | None = Field(None, description="where jobs and their results are kept (in cache_dir when not set)")
    programs: str = Field(
        "", description="further programs that requests may name: FILE:NAME or MODULE:NAME, several with ; between them"
    )
    job_days: Annotated[float, Field(gt=0)] = Field(7, description="days after which a finished job and its files go")
    jobs_bytes: Annotated[int, Field(ge=1)] = Field(
        10_737_418_240, description="most bytes of all jobs together (10 GiB); a job beyond is refused"
    )


class GatewaySettings(_Group):
    """The OpenAI-compatible gateway: which upstreams it has besides the engines, and how requests are shared out."""

    upstreams: str = Field(
        "",
        description="NAME=URL, several with ; between them (http, https or litellm); the engines when empty",
        repr=False,
    )
    fallbacks: str = Field("", description="who takes over for whom: NAME=OTHER,OTHER, several with ; between them")
    route_policies: str = Field(
        "", description="JSON: for each route (chat, completion, embeddings) a strategy and its targets"
    )
    health: str = Field(
        "",
        description="how upstreams are looked at: NAME=PATH,every=SECONDS,within=SECONDS, several with ; between them",
    )
    health_seconds: Annotated[float, Field(gt=0)] = Field(
        10, description="seconds between two looks at an upstream that is well"
    )
    health_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        5, description="longest time for an upstream to say how it is, in seconds"
    )
    answer_seconds: Annotated[float, Field(gt=0)] = Field(
        300, description="longest time for an upstream's answer, or for a stream's beginning, in seconds"
    )
    silence_seconds: Annotated[float, Field(gt=0)] = Field(
        60, description="longest silence of an upstream within a stream, in seconds"
    )
    wait_seconds: Annotated[float, Field(gt=0)] = Field(
        60, description="how long a request waits for room at an upstream before it is told to come back (503)"
    )
    images: Annotated[int, Field(ge=0)] = Field(32, description="most images in one request")
    image_bytes: Annotated[int, Field(ge=1)] = Field(
        20_971_520, description="largest image in a request, in bytes (20 MiB)"
    )
    image_hosts: str = Field(
        "",
        description="hosts whose images requests may name by https address: HOST, or http://HOST:PORT, "
        "several with ; between them (none: an image is its own bytes)",
    )
    image_seconds: Annotated[float, Field(gt=0)] = Field(
        15, description="longest time to fetch an image from such a host, in seconds"
    )
    choices: Annotated[int, Field(ge=1)] = Field(16, description="most answers to one request (n)")
    max_tokens: Annotated[int, Field(ge=1)] = Field(32_768, description="most tokens that a request may ask for")
    seed: int | None = Field(None, description="makes the draws of weighted routes repeatable")
    key_requests_minute: Annotated[int, Field(ge=1)] | None = Field(
        None, description="requests a minute that one key may send (no limit when not set)"
    )
    key_tokens_minute: Annotated[int, Field(ge=1)] | None = Field(
        None, description="tokens a minute that one key may use (no limit when not set)"
    )


class TelemetrySettings(_Group):
    """What docflow serve and runs tell those who look after them."""

    log: Literal["off", "text", "json"] = Field(
        "text", description="a line for each request to docflow serve: off, text (for people) or json"
    )
    log_file: Path | None = Field(None, description="where those lines go (standard output when not set)")
    metrics_file: Path | None = Field(
        None, description="file to which runs add their metrics, for node exporter's textfile collector (*.prom)"
    )
    log_requests: bool = Field(
        False, description="with json, a line of its own also when a request's prompt is there, before it is answered"
    )


class ModelOptions(_Group):
    """How a model is loaded, where that is not as ``models`` says for all of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True, validate_by_alias=True)

    projector: str | None = Field(None, description="file that reads images for a GGUF model")
    context: Annotated[int, Field(ge=0)] | None = Field(
        None, validation_alias="max_model_len", description="tokens of a conversation with its answer"
    )
    device: Literal["auto", "cpu", "cuda"] | None = None
    dtype: Annotated[str, Field(pattern=r"^[a-z0-9]{1,20}$")] | None = None
    quantization: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{0,40}$")] | None = None
    tensor_parallel_size: Annotated[int, Field(ge=1, le=1024)] | None = None
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    swap_space: Annotated[float, Field(ge=0)] | None = None
    enforce_eager: bool | None = None
    gpu_layers: Annotated[int, Field(ge=-1)] | None = None
    threads: Annotated[int, Field(ge=0, le=4096)] | None = None
    max_batch: Annotated[int, Field(ge=1, le=4096)] | None = None
    trust_remote_code: bool | None = None


class ModelAlias(ModelOptions):
    """A name of one's own for a model, with how it is loaded and how it answers where a request does not say."""

    model_id: Annotated[str, Field(min_length=1, max_length=300)]
    backend: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None


def _json_table(given: Any) -> Any:
    """A table that a variable gives as JSON."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given) if given.strip() else {}
    except json.JSONDecodeError:
        raise ValueError("it is no JSON object") from None


class ModelsSettings(_Group):
    """Models by name, in this process: which backend runs them, where they are, and how they are loaded."""

    mode: Literal["auto", "llama-cpp", "transformers", "vllm"] = Field(
        "auto", description="who runs models whose name leaves it open: the best backend there is (auto), or this one"
    )
    default: str = Field("llama3-8b", description="model that answers where a request names none")
    aliases: Annotated[dict[str, ModelAlias], BeforeValidator(_json_table)] = Field(
        default_factory=dict, description="names of one's own: a table of model_id, backend and settings for each"
    )
    folder: Path | None = Field(None, description="where GGUF files are looked for (models in cache_dir when not set)")
    memory_mb: Annotated[int, Field(ge=1)] | None = Field(
        None, description="most memory of all loaded models together, in MiB (what is free when not set)"
    )
    idle_seconds: Annotated[float, Field(gt=0)] | None = Field(
        None, description="seconds after its last request after which a model is unloaded (never when not set)"
    )
    requests: Annotated[int, Field(ge=1, le=1024)] = Field(64, description="most requests at the models at once")
    max_tokens: Annotated[int, Field(ge=1)] = Field(1_024, description="longest answer where a request does not say")
    context: Annotated[int, Field(ge=0)] = Field(
        0, description="tokens of a conversation with its answer (0: as many as the model has, within reason)"
    )
    gpu_layers: Annotated[int, Field(ge=-1)] = Field(-1, description="layers that llama.cpp puts on the GPU (-1: all)")
    threads: Annotated[int, Field(ge=0, le=4096)] = Field(0, description="threads of llama.cpp (0: one a core)")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where Transformers runs a model")
    dtype: Annotated[str, Field(pattern=r"^[a-z0-9]{1,20}$")] = Field(
        "auto", description="numbers that Transformers and vLLM compute with, such as bfloat16"
    )
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = Field(
        0.9, description="share of a GPU's memory that vLLM takes for a model"
    )
    max_batch: Annotated[int, Field(ge=1, le=4096)] = Field(
        8, description="requests that a model answers at once, where its backend batches"
    )


class DaskSettings(_Group):
    """Workers of the dask runner on this machine."""

    workers: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="worker processes that --runner dask starts (as many as cores when not set)"
    )


RUNNERS = r"^(auto|direct|prefect|dask(=(tcp|tls)://[^\s;]+)?)$"
"""What a runner is called."""


def _joined(given: Any) -> Any:
    """A list of engines as one text: in a file they may be written as a list."""
    return ";".join(given) if isinstance(given, list | tuple) and all(isinstance(one, str) for one in given) else given


class Settings(BaseSettings):
    """Every setting of docflow, with its default."""

    model_config = SettingsConfigDict(
        env_prefix="DOCFLOW_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    cache_dir: Path = Field(
        default_factory=default_cache_dir,
        description="where words, decoders' scratch files and the embedded Prefect server live",
    )
    engine: Annotated[str, BeforeValidator(_joined)] = Field(
        "embedded", description="who answers: a name, or NAME=URL, several with ; between them", repr=False
    )
    fallbacks: Annotated[str, BeforeValidator(_joined)] = Field(
        "", description="who answers while those are away, in order: NAME=URL, embedded, or NAME=OTHER", repr=False
    )
    concurrency: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="documents in work at once (by default as many as the engine likes)"
    )
    runner: Annotated[str, Field(pattern=RUNNERS)] = Field(
        "auto", description="auto, direct, prefect, dask or dask=tcp://HOST:PORT"
    )
    limits: DecodeLimits = DecodeLimits()
    reading: ReadingSettings = ReadingSettings()
    extraction: ExtractionSettings = ExtractionSettings()
    servers: ServerSettings = ServerSettings()
    costs: CostSettings = CostSettings()
    budget: BudgetSettings = BudgetSettings()
    dask: DaskSettings = DaskSettings()
    compact: CompactSettings = CompactSettings()
    retention: RetentionSettings = RetentionSettings()
    serve: ServeSettings = ServeSettings()
    models: ModelsSettings = ModelsSettings()
    gateway: GatewaySettings = GatewaySettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _AliasSource(settings_cls), _FileSource(settings_cls)


ALIASES = {
    "engine": ("DOCFLOW_ENGINES", "GATEWAY_UPSTREAMS"),
    "fallbacks": ("GATEWAY_FALLBACKS",),
    "servers.api_key": ("DOCFLOW_API_KEY",),
    "serve.host": ("LLM_HOST",),
    "serve.port": ("LLM_PORT",),
    "serve.keys": ("DOCFLOW_SERVE_KEYS",),
    "serve.model": ("LLM_MODEL",),
    "serve.upload_bytes": ("MAX_UPLOAD_BYTES",),
    "serve.image_side": ("MAX_IMAGE_SIDE",),
    "serve.max_tokens": ("MAX_TOKENS_CAP",),
    "serve.context": ("VLLM_MAX_MODEL_LEN",),
    "serve.requests": ("VLLM_MAX_NUM_SEQS",),
    "serve.block_size": ("VLLM_BLOCK_SIZE",),
    "serve.gpu_memory_utilization": ("VLLM_GPU_MEMORY_UTILIZATION",),
    "serve.tensor_parallel_size": ("VLLM_TENSOR_PARALLEL_SIZE",),
    "models.default": ("VLLM_DEFAULT_MODEL",),
    "models.aliases": ("VLLM_MODELS",),
    "gateway.upstreams": ("GATEWAY_UPSTREAMS",),
    "gateway.fallbacks": ("GATEWAY_FALLBACKS",),
    "gateway.route_policies": ("GATEWAY_ROUTE_POLICIES",),
    "gateway.health": ("GATEWAY_HEALTH",),
}
"""Further variables that name a setting; docflow's own variable for it counts more than these."""
ENGINE_SERVERS = ("sglang", "vllm")
"""The engines that are servers, as they are named."""
SECRETS = ("engine", "fallbacks", "servers.api_key", "serve.keys", "gateway.upstreams")
"""Settings that may hold passwords or keys: no message quotes them."""


class _AliasSource(PydanticBaseSettingsSource):
    """The variables of ``ALIASES``."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key in ALIASES:
            if (name := _alias_of(key)) is not None:
                group, _, last = key.rpartition(".")
                (found.setdefault(group, {}) if group else found)[last] = _given_as(key, name)
        return found


def _alias_of(key: str) -> str | None:
    """The variable, among those that name a setting beside its own, that is set."""
    return next((name for name in ALIASES.get(key, ()) if _given_as(key, name)), None)


def _given_as(key: str, variable: str) -> str:
    """What a variable says of a setting. Of the gateway's upstreams, those are engines that are named as engines are:
    the names of others are free, and nobody but the gateway knows how to ask them."""
    text = os.environ.get(variable, "")
    if key not in ("engine", "fallbacks") or not variable.startswith("GATEWAY_"):
        return text
    kept = []
    for entry in (one.strip() for one in text.split(";")):
        name, _, target = entry.partition("=")
        if name not in ENGINE_SERVERS or target.startswith("litellm:") or (key == "engine" and "://" not in target):
            continue
        if key == "fallbacks":
            others = [other.strip() for other in target.split(",") if other.strip() in ENGINE_SERVERS]
            entry = f"{name}={','.join(others)}" if others else ""
        kept.append(entry)
    return ";".join(entry for entry in kept if entry)


class _FileSource(PydanticBaseSettingsSource):
    """``docflow.toml``, else ``[tool.docflow]`` of ``pyproject.toml``, in the working directory."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return self().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return read_config_file()[1]


_CREDENTIALS = re.compile(r"(?<=://)[^;?\s]*@")
_NO_PORT = re.compile(r"(://(?:\[[^\]\s]*\]|[^/?#@\s:\[]*):)(?!\d+(?:[/?#;\s]|$))[^;\s]*")


def without_credentials(text: str) -> str:
    """A text with URLs in it as it may be shown.

    A password that is not percent-encoded can break a URL in two: what stands where a port should be and is no number
    is taken out as well.
    """
    return _NO_PORT.sub(r"\1...", _CREDENTIALS.sub("", text))


def read_config_file(folder: Path | None = None) -> tuple[Path | None, dict[str, Any]]:
    """The configuration file of ``folder`` (default: the working directory) and what it says.

    Raises ConfigError when the file is no TOML.
    """
    import tomllib

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


# --- settings with their origins ----------------------------------------------------------------------------------

ENV_PREFIX = "DOCFLOW_"
NO_SETTINGS = frozenset({"DOCFLOW_DEBUG"})
"""Variables with docflow's prefix that are no settings: DOCFLOW_DEBUG=1 shows tracebacks."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its dotted key, its value, and where that comes from (flag, variable, file or default)."""

    key: str
    value: Any
    origin: str
    description: str


def load_settings(flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings of ``flags`` (by dotted key, as in ``extraction.locale``) over the environment over the file.

    Raises ConfigError, which names the key, where it stands, and the known key that is nearest to it.
    """
    _refuse_unknown_variables()
    nested: dict[str, Any] = {}
    for key, value in (flags or {}).items():
        group, _, name = key.rpartition(".")
        (nested.setdefault(group, {}) if group else nested)[name] = value
    try:
        return Settings(**nested)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        origin = _origin(key, flags or {})
        if first["type"] == "model_type":
            raise ConfigError(
                f"{key} ({origin}) is a group of settings, not a value", hint=f"Write [{key}] and its settings below."
            ) from error
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"{key} ({origin}) is no setting of docflow", hint=_nearest(key)) from error
        given = "what is given" if key in SECRETS else repr(first["input"])
        raise ConfigError(f"{key} ({origin}) cannot be {given}: {_plain(first['msg'])}", hint=_meaning(key)) from error
    except SettingsError as error:  # a group given as a whole, as in DOCFLOW_LIMITS, that is no JSON
        group = next((name for name in Settings.model_fields if f'"{name}"' in str(error)), "")
        raise ConfigError(
            f"{ENV_PREFIX}{group.upper()} is not valid JSON",
            hint=f"Set one value at a time, as in {_variable(f'{group}.')}NAME=VALUE.",
        ) from error


def explain_settings(flags: Mapping[str, Any] | None = None) -> list[Setting]:
    """Every setting with its value, its meaning and where the value comes from. Raises ConfigError."""
    settings = load_settings(flags)
    rows = []
    for key, info in _known():
        value: Any = settings
        for part in key.split("."):
            value = getattr(value, part)
        if key in ("engine", "fallbacks", "gateway.upstreams"):
            value = without_credentials(value)
        rows.append(Setting(key, value, _origin(key, flags or {}), info.description or ""))
    return rows


def _known() -> Iterator[tuple[str, FieldInfo]]:
    """Every key, dotted, in the order of the settings."""
    for name, info in Settings.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, _Group):
            yield from ((f"{name}.{inner}", field) for inner, field in info.annotation.model_fields.items())
        else:
            yield name, info


def _variable(key: str) -> str:
    return ENV_PREFIX + key.replace(".", "__").upper()


def _origin(key: str, flags: Mapping[str, Any]) -> str:
    if key in flags:
        return "flag"
    variables = {name.upper(): value for name, value in os.environ.items()}
    group, _, name = key.partition(".")
    if _variable(key) in variables:
        return _variable(key)
    whole_group = _variable(group)
    if whole_group in variables and (not name or name in json.loads(variables[whole_group])):
        return whole_group
    if (alias := _alias_of(key)) is not None:
        return alias
    path, table = read_config_file()
    for part in key.split("."):
        if not isinstance(table, dict) or part not in table:
            return "default"
        table = table[part]
    return path.name if path else "default"


def _refuse_unknown_variables() -> None:
    """Pydantic reads the variables it knows; a misspelt one would be passed over in silence."""
    groups = {key.partition(".")[0] for key, _ in _known() if "." in key}
    known = {_variable(key) for key, _ in _known()} | {_variable(group) for group in groups} | NO_SETTINGS
    known |= {name for names in ALIASES.values() for name in names}
    for name in sorted(os.environ):
        variable = name.upper()
        if variable.startswith(ENV_PREFIX) and variable not in known:
            key = variable.removeprefix(ENV_PREFIX).replace("__", ".").lower()
            raise ConfigError(
                f"the environment variable {name} is no setting of docflow", hint=_nearest(key, as_variable=True)
            )


def _nearest(key: str, *, as_variable: bool = False) -> str:
    keys = [known for known, _ in _known()]
    keys += sorted({known.partition(".")[0] for known in keys if "." in known})
    last = key.rpartition(".")[2]
    close = difflib.get_close_matches(key, keys, n=1, cutoff=0.6) or [
        known for known in keys if difflib.get_close_matches(last, [known.rpartition(".")[2]], cutoff=0.7)
    ]
    if not close:
        return "docflow config lists every setting."
    return f"Did you mean {_variable(close[0]) if as_variable else close[0]}?"


def _meaning(key: str) -> str:
    description = next((info.description for known, info in _known() if known == key), None)
    return f"{key}: {description}." if description else "docflow config lists every setting."


def _plain(message: str) -> str:
    """Pydantic's sentence in the middle of ours."""
    return message[:1].lower() + message[1:]
