"""How each model is loaded: aliases with their settings, the settings of all models, and what is refused of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from docflow.engines.local.backends import canonical
from docflow.engines.local.model import ModelConfig, Sampling
from docflow.engines.local.quantizations import INSTEAD, is_gone
from docflow.errors import ConfigError, UsageError
from docflow.settings import ModelAlias, ModelOptions, ModelsSettings

LLAMA_8B = "meta-llama/Meta-Llama-3-8B-Instruct"
LLAMA_70B = "meta-llama/Meta-Llama-3-70B-Instruct"
BUILT_IN: Mapping[str, ModelAlias] = {
    "llama3-8b": ModelAlias(model_id=LLAMA_8B),
    # 140 GB of weights in bf16: two GPUs of 80 GB would leave next to nothing for conversations.
    "llama3-70b": ModelAlias(model_id=LLAMA_70B, tensor_parallel_size=4, swap_space=4),
    # The names that these two are often written by; nothing is published under them.
    "meta-llama/Llama-3-8B-Instruct": ModelAlias(model_id=LLAMA_8B),
    "meta-llama/Llama-3-70B-Instruct": ModelAlias(model_id=LLAMA_70B, tensor_parallel_size=4, swap_space=4),
    # Models that read documents.
    "qwen2-vl-2b": ModelAlias(model_id="Qwen/Qwen2-VL-2B-Instruct"),
    "qwen2-vl-7b": ModelAlias(model_id="Qwen/Qwen2-VL-7B-Instruct"),
    "qwen2-vl-7b-awq": ModelAlias(model_id="Qwen/Qwen2-VL-7B-Instruct-AWQ", quantization="awq", dtype="float16"),
    "qwen2-vl-72b": ModelAlias(model_id="Qwen/Qwen2-VL-72B-Instruct", tensor_parallel_size=4),
}
"""Aliases that are there without any setting; ``models.aliases`` adds to them and takes their place."""
_SAMPLING = ("temperature", "top_p", "top_k", "max_tokens")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is known of a model by its name: where it is, who was named to run it ("": nobody), and how it answers.

    ``own`` says that it is loaded otherwise than its model is without an alias.
    """

    alias: str
    config: ModelConfig
    backend: str
    sampling: Sampling
    own: bool = False


@dataclass(frozen=True, slots=True)
class Configs:
    """Names to configurations, by the settings. Raises ConfigError for an alias that cannot be."""

    settings: ModelsSettings
    aliases: Mapping[str, ModelAlias] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "aliases", {**BUILT_IN, **self.settings.aliases})
        for name, alias in self.settings.aliases.items():
            try:
                self.wanted(name)
            except UsageError as error:
                raise ConfigError(f"models.aliases.{name}: {error.message}", hint=error.hint) from error
            if alias.model_id != name and alias.model_id in self.settings.aliases:
                raise ConfigError(
                    f"models.aliases.{name}: its model_id {alias.model_id!r} is an alias too",
                    hint="Write the model's own name, file or folder.",
                )

    def wanted(self, name: str) -> Wanted:
        """What a name stands for. Raises UsageError where its settings cannot be."""
        alias = self.aliases.get(name)
        plain = ModelConfig(
            model_id=alias.model_id if alias else name,
            context=self.settings.context,
            device=self.settings.device,
            dtype=self.settings.dtype,
            gpu_memory_utilization=self.settings.gpu_memory_utilization,
            gpu_layers=self.settings.gpu_layers,
            threads=self.settings.threads,
            max_batch=self.settings.max_batch,
        )
        sampling = Sampling(max_tokens=self.settings.max_tokens)
        if alias is None:
            return Wanted("", plain, "", sampling)
        config = with_options(plain, alias)
        given = {key: value for key in _SAMPLING if (value := getattr(alias, key)) is not None}
        backend = canonical(alias.backend) if alias.backend else ""
        return Wanted(name, config, backend, replace(sampling, **given), own=config != plain or bool(backend or given))


def with_options(config: ModelConfig, options: ModelOptions) -> ModelConfig:
    """The configuration with what the options say. Raises UsageError where that cannot be."""
    names = ModelOptions.model_fields
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    return checked(replace(config, **given))


def checked(config: ModelConfig) -> ModelConfig:
    """The configuration itself. Raises UsageError for a quantisation that no backend has any more."""
    if is_gone(config.quantization):
        raise UsageError(
            f"quantization {config.quantization.lower()} cannot be loaded: vLLM has it no more", hint=INSTEAD
        )
    return config
