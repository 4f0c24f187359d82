"""The conversations that are kept: to be listed, looked at and deleted by whoever they belong to."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import APIRouter, Path, Request

from docflow.server.service.contracts import (
    ConversationDetail,
    ConversationList,
    ConversationMessage,
    ConversationSummary,
    Deleted,
)
from docflow.server.service.conversations import Conversation, Conversations
from docflow.server.service.exchange import exchange_of
from docflow.server.service.keys import NOBODY, Caller
from docflow.server.service.state import Service, service_of

router = APIRouter(tags=["conversations"], responses={404: {"description": "No such conversation"}})
Id = Annotated[str, Path(max_length=128)]


async def open(service: Service, stack: AsyncExitStack) -> None:  # noqa: A001
    """Nothing of its own: turns are kept by what generates them."""


@router.get("/conversations")
async def listed(request: Request) -> ConversationList:
    """The caller's conversations (everybody's for an admin), the one that was used last first."""
    found = [_summary(one) for one in _kept(request).of(_caller(request))]
    return ConversationList(conversations=found, total=len(found))


@router.get("/conversations/{conversation_id}")
async def shown(request: Request, conversation_id: Id) -> ConversationDetail:
    """One conversation with its messages; images are counted, and not given back."""
    found = _kept(request).get(conversation_id, _caller(request))
    messages = [
        ConversationMessage(role=one.role, content=one.text, images=len(one.pages), created_at=one.at)
        for one in found.messages
    ]
    return ConversationDetail(**_summary(found).model_dump(), messages=messages)


@router.delete("/conversations/{conversation_id}")
async def deleted(request: Request, conversation_id: Id) -> Deleted:
    """Forget a conversation."""
    return Deleted(conversation_id=_kept(request).delete(conversation_id, _caller(request)).id)


def _kept(request: Request) -> Conversations:
    return service_of(request).part(Conversations)


def _caller(request: Request) -> Caller:
    return exchange_of(request.scope).caller or NOBODY


def _summary(conversation: Conversation) -> ConversationSummary:
    return ConversationSummary(
        conversation_id=conversation.id,
        created_at=conversation.created,
        updated_at=conversation.updated,
        message_count=len(conversation.messages),
    )
