"""What ``/generate``, ``/vision``, ``/multimodal`` and ``/conversations`` take and answer: clients rely on it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

LONGEST_TEXT = 1_000_000
"""Characters of a message: no model's context holds more."""
DEFAULT_MAX_TOKENS = 512
DEFAULT_TEMPERATURE = 0.7
DEFAULT_QUESTION = "What does this image show?"


def _given(value: Any) -> Any:
    """An empty field of a form was not filled in."""
    return None if value == "" else value


class _Contract(BaseModel):
    model_config = ConfigDict(protected_namespaces=())


Text = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]
MaxTokens = Annotated[int, Field(ge=1, description="longest answer, in tokens; lowered to the service's limit")]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
ConversationId = Annotated[
    Annotated[str, Field(max_length=128)] | None,
    BeforeValidator(_given),
    Field(description="the conversation to go on with; a new one when null"),
]
ModelName = Annotated[
    Annotated[str, Field(max_length=300)] | None,
    BeforeValidator(_given),
    Field(description="a model of this service's own (GET /models); the engines' when null"),
]
Image = Annotated[str, Field(description="a data: URL, or base64", max_length=64 << 20)]


class MessageRequest(_Contract):
    """A turn of a conversation."""

    message: Text
    conversation_id: ConversationId = None
    model: ModelName = None
    max_tokens: MaxTokens = DEFAULT_MAX_TOKENS
    temperature: Temperature = DEFAULT_TEMPERATURE


class PromptRequest(_Contract):
    """A prompt on its own, with an image where there is one."""

    prompt: Text
    max_tokens: MaxTokens = 1024
    temperature: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = DEFAULT_TEMPERATURE
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.9
    image: Image | None = None
    model: ModelName = None


def _which(value: Any) -> str | None:
    if isinstance(value, BaseModel):
        return "message" if isinstance(value, MessageRequest) else "prompt"
    keys = {"message", "prompt"} & value.keys() if isinstance(value, dict) else set()
    return keys.pop() if len(keys) == 1 else None


EitherRequest = Annotated[
    Annotated[MessageRequest, Tag("message")] | Annotated[PromptRequest, Tag("prompt")],
    Discriminator(
        _which,
        custom_error_type="either_message_or_prompt",
        custom_error_message="give either message or prompt, and not both",
    ),
]


class _WithImages(_Contract):
    conversation_id: ConversationId = None
    model: ModelName = None
    max_tokens: Annotated[MaxTokens, BeforeValidator(lambda value: DEFAULT_MAX_TOKENS if value == "" else value)] = (
        DEFAULT_MAX_TOKENS
    )
    temperature: Annotated[
        Temperature, BeforeValidator(lambda value: DEFAULT_TEMPERATURE if value == "" else value)
    ] = DEFAULT_TEMPERATURE


class VisionRequest(_WithImages):
    """A question about one image."""

    image: Image
    message: Annotated[Text, BeforeValidator(lambda value: DEFAULT_QUESTION if value == "" else value)] = (
        DEFAULT_QUESTION
    )


class MultimodalRequest(_WithImages):
    """A message with one image or several."""

    message: Text
    images: Annotated[list[Image], Field(min_length=1, max_length=64)]


class Timings(_Contract):
    """Where the time went, in milliseconds."""

    generation_ms: float = Field(description="the engine's, from the request to it to its answer")
    total_ms: float = Field(description="the whole processing: images, conversation, engine, JSON")
    tokens_generated: int
    tokens_per_second: float = Field(description="tokens generated over the engine's time")
    endpoint_total_ms: float = Field(description="since the request began to arrive")
    json_parse_ms: float


class ModelInfo(_Contract):
    """Who answered, and under which limits."""

    engine: str = Field(description="who answered: vLLM, SGLang, or what runs the model in this process")
    model_name: str
    max_tokens: int = Field(description="the limit in force, which may be lower than the one asked for")
    temperature: float
    timings: Timings


class GenerationResponse(_Contract):
    """An answer in a conversation."""

    response: str
    conversation_id: str
    generation_time: float = Field(description="seconds")
    model_info: ModelInfo
    response_json: dict[str, Any] | None = Field(
        description="the answer where it is a JSON object (in a code fence or not); null for lists and single values"
    )
    response_is_json: bool = Field(description="whether the answer is JSON of any kind")


class GenerateResponse(_Contract):
    """An answer to a prompt on its own."""

    generated_text: str
    num_tokens: int
    finish_reason: str = Field(description="stop, length or abort")


class ConversationMessage(_Contract):
    role: Literal["system", "user", "assistant"]
    content: str
    images: int = Field(description="how many images were shown with it")
    created_at: datetime


class ConversationSummary(_Contract):
    conversation_id: str
    created_at: datetime
    updated_at: datetime
    message_count: int


class ConversationDetail(ConversationSummary):
    messages: list[ConversationMessage]


class ConversationList(_Contract):
    conversations: list[ConversationSummary]
    total: int


class Deleted(_Contract):
    conversation_id: str
    deleted: Literal[True] = True
