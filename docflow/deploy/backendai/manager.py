"""The seam over which the manager is asked: signed requests, and tunnels to a session's ports.

It signs by itself. The official client (``backend.ai-client``) pins aiohttp 3.8, rich 13 and python-dotenv 0.20, which
docflow cannot have beside its own, and brings gRPC and Redis along; what is asked here are eight requests.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode, urlsplit

from docflow.deploy.backendai import signing, troubles
from docflow.deploy.backendai.credentials import Credentials
from docflow.errors import DeployError

if TYPE_CHECKING:
    import aiohttp

ACTIVE = "PENDING,SCHEDULED,PREPARING,PULLING,PREPARED,CREATING,RUNNING,RESTARTING,TERMINATING,ERROR"
ENDED = ("TERMINATED", "CANCELLED", "ERROR")
"""Statuses from which no server comes."""
_JSON = "application/json"
_BINARY = "application/octet-stream"
"""What a tunnel's request is signed as: it has no content type, and that is what managers take none for."""
_MOST_BYTES = 32 * 1024 * 1024
_PAGE = 50
_QUERY = """query($limit: Int!, $offset: Int!, $status: String) {
  compute_session_list(limit: $limit, offset: $offset, status: $status) {
    items { id name tag type status status_info created_at containers { id occupied_slots live_stat } }
    total_count
  }
}"""


@dataclass(frozen=True, slots=True)
class Session:
    """A session as the manager tells of it. Slots and figures are as it writes them."""

    id: str
    name: str
    status: str
    status_info: str = ""
    tag: str = ""
    created_at: str = ""
    kernel: str = ""
    slots: Mapping[str, Any] | None = None
    figures: Mapping[str, Any] | None = None

    @property
    def model(self) -> str:
        """The model it was deployed with, empty where it is not one of docflow's."""
        return self._marked()[1]

    @property
    def port(self) -> int:
        """The server's port in the session, 0 where it is not one of docflow's."""
        return self._marked()[0]

    def _marked(self) -> tuple[int, str]:
        match self.tag.split(" ", 2):
            case ["docflow", port, model] if port.isdecimal():
                return int(port), model
        return 0, ""


class Manager:
    """A manager, asked as the owner of a key pair. Use it as an asynchronous context manager."""

    def __init__(self, credentials: Credentials, *, seconds: float = 60.0) -> None:
        self._credentials = credentials
        parts = urlsplit(credentials.endpoint)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._host = parts.netloc
        self._path = parts.path.rstrip("/")
        self._seconds = seconds
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=self._seconds, sock_connect=min(10.0, self._seconds))
        self._client = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def create(self, body: Mapping[str, object]) -> Session:
        """Create a session. Raises DeployError, with the reason's own kind."""
        said = await self._ask("POST", "/session", body=body, doing="the session was not created", good=(201,))
        try:
            return Session(
                str(said.get("sessionId") or said["sessId"]),
                str(body["clientSessionToken"]),
                str(said.get("status", "PENDING")),
            )
        except (LookupError, AttributeError) as error:
            raise DeployError("the manager created a session and did not say its id") from error

    async def info(self, session: str) -> Session:
        """A session by its id or name. Raises DeployError."""
        said = await self._ask("GET", f"/session/{quote(session, safe='')}", doing=f"session {session}")
        try:
            return Session(
                str(said.get("id", session)),
                str(said.get("name", session)),
                str(said["status"]),
                str(said.get("statusInfo") or ""),
                str(said.get("tag") or ""),
                str(said.get("creationTime") or ""),
            )
        except (LookupError, AttributeError) as error:
            raise DeployError(f"the manager did not say how session {session} is") from error

    async def sessions(self, status: str = ACTIVE) -> list[Session]:
        """The sessions of this key pair that have one of these statuses, newest first as the manager has them."""
        found: list[Session] = []
        while True:
            variables = {"limit": _PAGE, "offset": len(found), "status": status}
            said = await self._ask(
                "POST", "/admin/gql", body={"query": _QUERY, "variables": variables}, doing="the sessions"
            )
            try:
                if said.get("errors"):
                    raise DeployError(f"the manager does not list sessions: {str(said['errors'])[:300]}")
                page = said["data"]["compute_session_list"]
                items = page["items"]
                found += [_session(item) for item in items]
                total = int(page["total_count"])
            except (LookupError, TypeError, ValueError, AttributeError) as error:
                raise DeployError("the manager's list of sessions is not understood") from error
            if not items or len(found) >= total:
                return found

    async def named(self, name: str) -> Session:
        """The active session of this name or id. Raises DeployError where there is none."""
        for session in await self.sessions():
            if name in (session.name, session.id):
                return session
        raise DeployError(f"there is no active session {name}", hint=f"{troubles.LIST} shows those that there are.")

    async def end(self, session: str, *, force: bool = False) -> None:
        """End a session. Raises DeployError where there is none."""
        query = {"forced": "true"} if force else {}
        path = f"/session/{quote(session, safe='')}"
        await self._ask("DELETE", path, query=query, doing=f"session {session} was not ended", good=(200, 202, 204))

    async def logs(self, session: Session) -> str:
        """What a session has printed: its container, and the command that it runs."""
        said = await self._ask(
            "GET", f"/session/{quote(session.id, safe='')}/logs", doing=f"the log of session {session.name}"
        )
        result = said.get("result") if isinstance(said, dict) else None
        text = str(result.get("logs") or "") if isinstance(result, dict) else ""
        if session.kernel:
            query = {"taskId": session.kernel}
            try:
                text += await self._text("/session/_/logs", query)
            except DeployError:  # older managers, and clusters without user folders, keep no log of commands
                return text
        return text

    @asynccontextmanager
    async def tunnel(self, session: str, port: int) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """One connection to a port in a session. Raises DeployError where there is none (yet)."""
        import aiohttp

        target = self._target(f"/stream/session/{quote(session, safe='')}/tcpproxy", {"app": str(port)})
        headers = signing.headers(self._credentials, "GET", target, self._host, datetime.now(UTC), _BINARY)
        try:
            socket = await self._http().ws_connect(
                _url(self._origin, target), headers=headers, heartbeat=30.0, max_msg_size=0
            )
        except aiohttp.WSServerHandshakeError as error:
            body = {"title": "no such service" if error.status == 404 else error.message}
            raise troubles.of_answer(error.status, body, f"port {port} of the session") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from error
        try:
            yield socket
        finally:
            await socket.close()

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        doing: str,
        good: tuple[int, ...] = (200,),
    ) -> Any:
        status, content = await self._send(method, path, query or {}, body)
        try:
            said = json.loads(content) if content else {}
        except ValueError:
            said = {"title": content[:200].decode("utf-8", "replace")} if status not in good else None
        if status not in good:
            raise troubles.of_answer(status, said, doing)
        if said is None:
            raise DeployError(
                f"{self._credentials.endpoint} does not answer as a Backend.AI manager",
                hint="BACKEND_AI_ENDPOINT is the manager's API (port 8081 by default), not the web console.",
            )
        return said

    async def _text(self, path: str, query: Mapping[str, str]) -> str:
        status, content = await self._send("GET", path, query, None)
        if status != 200:
            raise troubles.of_answer(status, {}, path)
        return content.decode("utf-8", "replace")

    async def _send(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, object] | None
    ) -> tuple[int, bytes]:
        import aiohttp

        target = self._target(path, query)
        headers = signing.headers(self._credentials, method, target, self._host, datetime.now(UTC), _JSON)
        data = None if body is None else json.dumps(body).encode()
        try:
            async with self._http().request(
                method, _url(self._origin, target), data=data, headers=headers, allow_redirects=False
            ) as response:
                content = bytearray()
                async for chunk in response.content.iter_any():
                    content += chunk
                    if len(content) > _MOST_BYTES:
                        raise DeployError("the manager's answer is larger than any that is expected")
                return response.status, bytes(content)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> DeployError:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        cause = getattr(error, "os_error", None)  # aiohttp's own words repeat the address
        if isinstance(cause, OSError) and cause.errno:
            said = os.strerror(cause.errno) if cause.errno > 0 else cause.strerror or said
        return DeployError(
            f"the manager at {self._credentials.endpoint} cannot be reached: {said}",
            hint="Check BACKEND_AI_ENDPOINT and the network.",
            retryable=True,
        )

    def _target(self, path: str, query: Mapping[str, str]) -> str:
        return f"{self._path}{path}{f'?{urlencode(query)}' if query else ''}"

    def _http(self) -> aiohttp.ClientSession:
        assert self._client is not None, "a Manager is used within async with"
        return self._client


def _url(origin: str, target: str) -> Any:
    """The address with its path as it was signed: no part of it is quoted anew."""
    from yarl import URL

    return URL(origin + target, encoded=True)


def _session(item: Mapping[str, Any]) -> Session:
    containers = item.get("containers") or [{}]
    return Session(
        str(item["id"]),
        str(item.get("name") or item["id"]),
        str(item["status"]),
        str(item.get("status_info") or ""),
        str(item.get("tag") or ""),
        str(item.get("created_at") or ""),
        str(containers[0].get("id") or ""),
        _json_text(containers[0].get("occupied_slots")),
        _json_text(containers[0].get("live_stat")),
    )


def _json_text(value: Any) -> Mapping[str, Any]:
    """A JSON object, which managers give as text."""
    if isinstance(value, str):
        value = json.loads(value)
    return value if isinstance(value, dict) else {}
