"""Conversations: remembered within the context, each its key's own, forgotten in time."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from starlette.testclient import TestClient

from docflow.documents.model import Page
from docflow.engines.base import Limits, Request, Turn, WantText
from docflow.server.service.conversations import MOST_MESSAGES, Conversation, Conversations, Message
from docflow.server.service.generating import fitted
from docflow.server.service.keys import Caller
from docflow.server.service.refusals import Refusal
from tests.engines.instant import InstantServer
from tests.engines.loopback import Received
from tests.integration.service.conftest import Serve

ANN, BEN, OPS = Caller("ann"), Caller("ben"), Caller("ops", admin=True)
KEYS = "ann=0123456789abcdef-ann;ben=0123456789abcdef-ben;ops:admin=0123456789abcdef-ops"


def key(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer 0123456789abcdef-{name}"}


def say(client: TestClient, text: str, id_: str | None = None, **more: Any) -> Any:
    return client.post("/generate", json={"message": text, "conversation_id": id_}, **more)


# --- over HTTP ------------------------------------------------------------------------------------------------------


def test_a_conversation_goes_on_with_what_was_said(client: TestClient, instant: InstantServer) -> None:
    first = say(client, "One").json()
    second = say(client, "Two", first["conversation_id"]).json()
    assert second["conversation_id"] == first["conversation_id"]
    assert instant.requests[-1].json()["messages"] == [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "This is a document."},
        {"role": "user", "content": "Two"},
    ]
    assert say(client, "Three").json()["conversation_id"] != first["conversation_id"]
    assert client.get("/health").json()["active_conversations"] == 2


def test_conversations_are_listed_shown_and_deleted(client: TestClient) -> None:
    older = say(client, "One").json()["conversation_id"]
    newer = say(client, "Two").json()["conversation_id"]
    say(client, "Three", older)
    listed = client.get("/conversations").json()
    assert listed["total"] == 2
    assert [one["conversation_id"] for one in listed["conversations"]] == [older, newer]
    assert [one["message_count"] for one in listed["conversations"]] == [4, 2]
    assert set(listed["conversations"][0]) == {"conversation_id", "created_at", "updated_at", "message_count"}
    shown = client.get(f"/conversations/{older}").json()
    assert [(one["role"], one["content"]) for one in shown["messages"]] == [
        ("user", "One"),
        ("assistant", "This is a document."),
        ("user", "Three"),
        ("assistant", "This is a document."),
    ]
    assert all(one["created_at"].endswith(("Z", "+00:00")) for one in shown["messages"])
    deleted = client.delete(f"/conversations/{older}")
    assert (deleted.status_code, deleted.json()) == (200, {"conversation_id": older, "deleted": True})
    for gone in (
        client.get(f"/conversations/{older}"),
        client.delete(f"/conversations/{older}"),
        say(client, "Four", older),
    ):
        assert gone.status_code == 404
        assert gone.json()["detail"] == "there is no such conversation"
    assert client.get("/conversations").json()["total"] == 1


def test_a_conversation_belongs_to_its_key(serve: Serve, instant: InstantServer) -> None:
    client = serve({"engine": f"vllm={instant.url}", "serve.keys": KEYS})
    assert client.get("/conversations").status_code == 401
    own = say(client, "One", headers=key("ann")).json()["conversation_id"]
    say(client, "Two", headers=key("ben"))
    assert [one["conversation_id"] for one in client.get("/conversations", headers=key("ann")).json()["conversations"]]
    assert client.get("/conversations", headers=key("ann")).json()["total"] == 1
    assert client.get("/conversations", headers=key("ops")).json()["total"] == 2
    for answer in (
        client.get(f"/conversations/{own}", headers=key("ben")),
        client.delete(f"/conversations/{own}", headers=key("ben")),
        say(client, "Three", own, headers=key("ben")),
    ):
        assert answer.status_code == 404
    assert client.get(f"/conversations/{own}", headers=key("ann")).json()["message_count"] == 2
    assert client.delete(f"/conversations/{own}", headers=key("ops")).status_code == 200
    assert client.get(f"/conversations/{own}", headers=key("ann")).status_code == 404


def test_a_turn_that_failed_leaves_nothing(serve: Serve) -> None:
    with InstantServer("vllm", context=60) as server:
        client = serve({"engine": f"vllm={server.url}"})
        id_ = say(client, "One").json()["conversation_id"]
        assert say(client, "long " * 300, id_).status_code == 400
        assert client.get(f"/conversations/{id_}").json()["message_count"] == 2


def test_the_oldest_turns_are_left_out_when_the_context_is_full(serve: Serve, instant: InstantServer) -> None:
    limits = {"serve.context": 1000, "serve.max_tokens": 300, "serve.image_side": 280}
    client = serve({"engine": f"vllm={instant.url}", **limits})
    id_ = None
    for number in range(12):
        id_ = say(client, f"{number}: " + "words " * 40, id_).json()["conversation_id"]
    messages = instant.requests[-1].json()["messages"]
    assert 1 < len(messages) < 23
    assert messages[-1]["content"].startswith("11:")
    assert messages[0]["role"] == "user"
    numbers = [int(one["content"].partition(":")[0]) for one in messages if one["role"] == "user"]
    assert numbers == list(range(numbers[0], 12)), "those that stay are the newest, without a gap"
    assert client.get(f"/conversations/{id_}").json()["message_count"] == 24, "they are kept all the same"


def test_two_turns_of_one_conversation_are_answered_in_turn(serve: Serve) -> None:
    at_once: list[int] = []

    class Slow(InstantServer):
        inside = 0

        async def handle(self, request: Received, writer: Any) -> None:
            if request.path == "/v1/chat/completions":
                self.inside += 1
                at_once.append(self.inside)
                await asyncio.sleep(0.05)
                self.inside -= 1
            await super().handle(request, writer)

    with Slow("vllm") as server:
        client = serve({"engine": f"vllm={server.url}"})
        id_ = say(client, "One").json()["conversation_id"]
        threads = [threading.Thread(target=say, args=(client, text, id_)) for text in ("Two", "Three")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert client.get(f"/conversations/{id_}").json()["message_count"] == 6
    assert max(at_once) == 1


# --- the store ------------------------------------------------------------------------------------------------------


def added(store: Conversations, owner: str, text: str = "hello") -> Conversation:
    conversation = Conversation(owner)
    store.add(conversation, Message("user", text, size=len(text)), Message("assistant", "yes", size=3))
    return conversation


def test_a_conversation_is_forgotten_when_nobody_goes_on_with_it() -> None:
    now = 0.0
    store = Conversations(10, 60, clock=lambda: now)
    first, second = added(store, "ann"), added(store, "ann")
    now = 50.0
    store.add(first, Message("user", "again"))
    now = 70.0
    assert store.of(ANN) == [first]
    with pytest.raises(Refusal):
        store.get(second.id, ANN)
    now = 111.0
    assert len(store) == 0


def test_too_many_conversations_cost_the_key_that_has_the_most_its_oldest() -> None:
    store = Conversations(4, 60)
    ben = added(store, "ben")
    anns = [added(store, "ann") for _ in range(5)]
    assert store.of(BEN) == [ben], "though it is older than all the others"
    assert store.of(ANN) == [anns[4], anns[3], anns[2]]
    assert len(store.of(OPS)) == 4


def test_too_much_text_costs_the_key_that_holds_the_most() -> None:
    store = Conversations(100, 60, most_bytes=1_000)
    ben = added(store, "ben", "x" * 100)
    first, second = added(store, "ann", "x" * 500), added(store, "ann", "x" * 450)
    assert store.of(OPS) == [second, ben]
    assert first not in store.of(ANN)
    large = added(store, "ann", "x" * 5_000)
    assert store.of(OPS) == [large], "the one at work stays, however large"


def test_a_conversation_that_was_deleted_meanwhile_stays_deleted() -> None:
    store = Conversations(10, 60)
    conversation = added(store, "ann")
    store.delete(conversation.id, ANN)
    store.add(conversation, Message("user", "late"))
    assert len(store) == 0


def test_a_conversation_keeps_no_more_messages_than_any_model_could_read() -> None:
    store = Conversations(10, 60)
    conversation = added(store, "ann")
    for number in range(MOST_MESSAGES):
        store.add(conversation, Message("user", str(number), size=1))
    assert len(conversation.messages) == MOST_MESSAGES
    assert conversation.size == MOST_MESSAGES


# --- what fits ------------------------------------------------------------------------------------------------------


def request(*texts: str, max_tokens: int = 100) -> Request:
    roles = ("user", "assistant")
    turns = tuple(Turn(roles[number % 2], (text,)) for number, text in enumerate(texts))  # type: ignore[arg-type]
    return Request(turns, WantText(), limits=Limits(max_tokens=max_tokens))


def test_what_fits_stays_as_it_is() -> None:
    whole = request("a", "b", "c")
    assert fitted(whole, 1_000).turns == whole.turns


def test_an_answer_goes_with_its_question() -> None:
    long = "x" * 2_000
    assert [turn.text for turn in fitted(request(long, "b", "c", "d", "e"), 1_000).turns] == ["c", "d", "e"]


def test_the_last_turn_stays_whatever_it_is() -> None:
    long = "x" * 100_000
    assert [turn.text for turn in fitted(request("a", "b", long), 1_000).turns] == [long]


def test_pages_count_for_what_they_cost() -> None:
    page = Page("id", 1, 280, 280, "px", lambda *_: None, encoder=lambda *_: b"")  # type: ignore[arg-type]
    turns = (Turn("user", (page, "a")), Turn("assistant", ("b",)), Turn("user", ("c",)))
    limits = Limits(max_tokens=100)
    assert len(fitted(Request(turns, WantText(), limits=limits), 400).turns) == 3
    assert len(fitted(Request(turns, WantText(), limits=limits), 250).turns) == 1
