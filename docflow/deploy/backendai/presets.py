"""Known models and what suits them: the table in ``presets.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources

from pydantic import BaseModel, ConfigDict, Field


class Preset(BaseModel):
    """What one model is deployed with, and what is known of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: str
    gpus: int = Field(ge=1)
    memory: str
    context: int = Field(ge=1)
    weights: float = Field(gt=0)
    quantization: str = ""
    quantized: Mapping[str, str] = {}
    chat: bool = True
    images: int = 0
    length: int | None = None


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    models: Mapping[str, Preset]


@cache
def presets() -> Mapping[str, Preset]:
    """Every known model, by its id on the Hub."""
    text = (resources.files("docflow.deploy.backendai") / "presets.toml").read_text("utf-8")
    return _Table.model_validate(tomllib.loads(text)).models


def preset_of(model: str) -> Preset | None:
    """A model's preset; ids count as the Hub counts them, without regard to case."""
    return next((preset for name, preset in presets().items() if name.lower() == model.lower()), None)
