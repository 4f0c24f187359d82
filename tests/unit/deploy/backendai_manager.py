"""A Backend.AI manager to test against: strict about signatures, with sessions that live and die, in a thread.

It knows nothing of the code under test: what it wants is what managers publish. A look at a session's state moves it
on, so that nothing depends on time.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import WSMsgType, web

ACCESS, SECRET = "AKIATESTTESTTESTTEST", "wJalrXUtnFEMIsecretsecretsecretEXAMPLE"
LIFE = ("PENDING", "PREPARING", "RUNNING")
CREATE_FIELDS = {
    *("image", "clientSessionToken", "type", "tag", "enqueueOnly", "maxWaitSeconds", "reuseIfExists"),
    *("startupCommand", "config", "group"),
}
CONFIG_FIELDS = {"environ", "resources", "resource_opts", "preopen_ports"}


@dataclass
class Kept:
    """A session in the manager."""

    id: str
    name: str
    asked: dict[str, Any]
    states: list[str]
    kernel: str
    created: datetime
    looks_running: int = 0
    slots: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> str:
        return self.states[0]

    @property
    def active(self) -> bool:
        return self.state not in ("TERMINATED", "CANCELLED")


@dataclass
class Manager:
    """The double, and what goes wrong in it."""

    endpoint: str = ""
    skew: timedelta = timedelta()
    life: tuple[str, ...] = LIFE
    log: str = "INFO starting\n"
    images: set[str] | None = None
    refusal: tuple[int, str, str, str] | None = None
    refuse_after: int = 0
    lose_at: str = ""
    port_after: int = 0
    ready_after: int = 0
    broken_looks: int = 0
    status_info: str = ""
    chat_template: bool = True
    gpu_slot: str = "cuda.device"
    metrics: str = "vllm:num_requests_running 0.0\nvllm:request_success_total 0.0\nprocess_start_time_seconds 1.0\n"
    metrics_of: dict[str, str] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    tunnelled: list[str] = field(default_factory=list)
    model_port: int = 0
    whose: dict[int, str] = field(default_factory=dict)

    def one(self) -> Kept:
        [kept] = self.kept.values()
        return kept

    # --- who asks ------------------------------------------------------------------------------------------------

    @web.middleware
    async def signed(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path == "/":  # which version it speaks, managers tell everybody
            return web.json_response({"version": "v6.20220615", "manager": "22.06.0"})
        self.requests.append((request.method, request.path))
        given = request.headers.get("Authorization", "")
        kind, _, rest = given.partition(" ")
        parts = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
        access, _, signature = parts.get("credential", "").partition(":")
        if kind != "BackendAI" or parts.get("signMethod") != "HMAC-SHA256" or not signature:
            return problem(401, "auth-failed", "Credential/signature mismatch.", "no or a malformed header")
        raw_date = request.headers.get("Date") or request.headers["X-BackendAI-Date"]
        date = datetime.fromisoformat(raw_date)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        now = datetime.now(UTC) + self.skew
        if abs(now - date) >= timedelta(minutes=15):
            return problem(
                400, "invalid-auth-params", "Missing or invalid authorization parameters.", "Date/time sync error"
            )
        version = request.headers["X-BackendAI-Version"]
        body = b"" if version >= "v4.20181215" else await request.read()
        host = request.headers["Host"]
        text = (
            f"{request.method}\n{request.raw_path}\n{raw_date}\nhost:{host}\ncontent-type:{request.content_type}\n"
            f"x-backendai-version:{version}\n{hashlib.sha256(body).hexdigest()}"
        )
        key = hmac.new(SECRET.encode(), date.strftime("%Y%m%d").encode(), "sha256").digest()
        key = hmac.new(key, host.encode(), "sha256").digest()
        wanted = hmac.new(key, text.encode(), "sha256").hexdigest()
        if access != ACCESS or not hmac.compare_digest(wanted, signature):
            return problem(401, "auth-failed", "Credential/signature mismatch.", "Signature mismatch")
        return await handler(request)  # type: ignore[no-any-return]

    # --- sessions ------------------------------------------------------------------------------------------------

    async def create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if self.refusal and len(self.kept) >= self.refuse_after:
            return problem(*self.refusal)
        unknown = asked.keys() - CREATE_FIELDS | asked["config"].keys() - CONFIG_FIELDS
        if unknown or asked["type"] != "batch" or len(asked.get("tag", "")) > 64:
            return problem(400, "invalid-api-params", "Missing or invalid API parameters.", f"{sorted(unknown)}")
        if unknown_slots := asked["config"]["resources"].keys() - {"cpu", "mem", self.gpu_slot}:
            said = f"Unknown requested resource slot: {min(unknown_slots)}"
            return problem(400, "invalid-api-params", "Missing or invalid API parameters.", said)
        name = asked["clientSessionToken"]
        if any(kept.name == name and kept.active for kept in self.kept.values()):
            if asked["reuseIfExists"]:
                return web.json_response({"created": False}, status=200)
            return problem(
                400, "session-already-exists", "The session already exists but you requested not to reuse.", ""
            )
        if self.images is not None and asked["image"] not in self.images:
            return problem(
                404, "image-not-found", "No such environment image.", f"Unknown image reference: {asked['image']}"
            )
        wanted = asked["config"]["resources"]
        slots = {"cpu": wanted["cpu"], self.gpu_slot: wanted[self.gpu_slot]}
        kept = Kept(str(uuid.uuid4()), name, asked, list(self.life), str(uuid.uuid4()), datetime.now(UTC), slots=slots)
        self.kept[kept.id] = kept
        return web.json_response(
            {"sessionId": kept.id, "sessionName": name, "status": "PENDING", "servicePorts": [], "created": True},
            status=201,
        )

    def find(self, request: web.Request, *, ended: bool = False) -> Kept:
        wanted = request.match_info["session"]
        for kept in self.kept.values():
            if (wanted == kept.id and (kept.active or ended)) or (wanted == kept.name and kept.active):
                return kept
        raise web.HTTPNotFound(
            text=json.dumps({"type": "https://api.backend.ai/probs/session-not-found", "title": "No such session."}),
            content_type="application/problem+json",
        )

    async def info(self, request: web.Request) -> web.Response:
        if self.broken_looks:
            self.broken_looks -= 1
            return problem(502, "bad-gateway", "Bad gateway", "")
        kept = self.find(request, ended=True)
        if len(kept.states) > 1:
            kept.states.pop(0)
        if kept.state == self.lose_at:
            del self.kept[kept.id]
        kept.looks_running += kept.state == "RUNNING"
        return web.json_response(
            {
                "status": kept.state,
                "statusInfo": self.status_info,
                "image": kept.asked["image"],
                "tag": kept.asked["tag"],
            }
        )

    async def end(self, request: web.Request) -> web.Response:
        kept = self.find(request)
        kept.states = ["TERMINATED"]
        return web.Response(status=204)

    async def logs(self, request: web.Request) -> web.Response:
        self.find(request, ended=True)
        return web.json_response({"result": {"logs": self.log}})

    async def task_logs(self, request: web.Request) -> web.Response:
        kept = next(kept for kept in self.kept.values() if kept.kernel == request.query["taskId"])
        return web.Response(text=f"task of {kept.name}\n")

    async def gql(self, request: web.Request) -> web.Response:
        asked = await request.json()
        variables = asked["variables"]
        statuses = variables["status"].split(",")
        found = [kept for kept in reversed(self.kept.values()) if kept.state in statuses]
        page = found[variables["offset"] : variables["offset"] + variables["limit"]]
        items = [
            {
                "id": kept.id,
                "name": kept.name,
                "tag": kept.asked.get("tag"),
                "type": "BATCH",
                "status": kept.state,
                "status_info": None,
                "created_at": kept.created.isoformat(),
                "containers": [
                    {
                        "id": kept.kernel,
                        "occupied_slots": json.dumps(kept.slots),
                        "live_stat": json.dumps(
                            {
                                "cpu_util": {"current": "812", "pct": "81.20"},
                                "mem": {"current": "8589934592", "capacity": "17179869184", "pct": "50.00"},
                                "cuda_util": {"pct": "37.00"},
                                "cuda_mem": {"current": "21474836480", "capacity": "85899345920"},
                            }
                        )
                        if kept.state == "RUNNING"
                        else None,
                    }
                ],
            }
            for kept in page
        ]
        return web.json_response({"data": {"compute_session_list": {"items": items, "total_count": len(found)}}})

    async def tunnel(self, request: web.Request) -> web.StreamResponse:
        kept = self.find(request)
        port = request.query["app"]
        if kept.looks_running <= self.port_after or port != str(kept.asked["config"]["preopen_ports"][0]):
            return problem(404, "app-not-found", "No such app service provided by the session.", f"{kept.name}:{port}")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.tunnelled.append(kept.name)
        if kept.looks_running <= self.ready_after:
            await socket.close()  # the container's port is open, and nobody listens behind it
            return socket
        reader, writer = await asyncio.open_connection("127.0.0.1", self.model_port)
        self.whose[writer.get_extra_info("sockname")[1]] = kept.name

        async def down() -> None:
            while chunk := await reader.read(4096):
                await socket.send_bytes(chunk)
            await socket.close()

        task = asyncio.create_task(down())
        try:
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    writer.write(message.data)
                    await writer.drain()
        finally:
            task.cancel()
            writer.close()
        return socket

    def name_of(self, request: web.Request) -> str:
        """The session whose server is asked, by the tunnel that the connection came through."""
        assert request.transport is not None
        return self.whose[request.transport.get_extra_info("peername")[1]]

    # --- the server in the session ---------------------------------------------------------------------------------

    @web.middleware
    async def keyed(self, request: web.Request, handler: Any) -> web.StreamResponse:
        kept = next(kept for kept in self.kept.values() if kept.name == self.name_of(request))
        key = kept.asked["config"]["environ"]["VLLM_API_KEY"]
        if request.path.startswith("/v1") and request.headers.get("Authorization") != f"Bearer {key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        return await handler(request)  # type: ignore[no-any-return]

    async def health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "the/model", "object": "model"}]})

    async def completions(self, _: web.Request) -> web.Response:
        return web.json_response({"choices": [{"text": " Paris", "finish_reason": "length"}]})

    async def chat(self, request: web.Request) -> web.Response:
        if not self.chat_template:
            said = "default chat template is no longer allowed, so you must provide a chat template"
            return web.json_response({"object": "error", "message": said, "code": 400}, status=400)
        asked = await request.json()
        text = '{"readable": true, "pages": 1}' if "response_format" in asked else "Hello."
        return web.json_response({"choices": [{"message": {"role": "assistant", "content": text}}]})

    async def counters(self, request: web.Request) -> web.Response:
        return web.Response(text=self.metrics_of.get(self.name_of(request), self.metrics))


def problem(status: int, kind: str, title: str, msg: str) -> web.Response:
    body = {"type": f"https://api.backend.ai/probs/{kind}", "title": title, "msg": msg}
    return web.json_response(body, status=status, content_type="application/problem+json")


async def _serve(manager: Manager, ready: threading.Event, stop: asyncio.Event) -> None:
    model = web.Application(middlewares=[manager.keyed])
    model.add_routes(
        [
            web.get("/health", manager.health),
            web.get("/v1/models", manager.models),
            web.get("/metrics", manager.counters),
            web.post("/v1/completions", manager.completions),
            web.post("/v1/chat/completions", manager.chat),
        ]
    )
    app = web.Application(middlewares=[manager.signed])
    app.add_routes(
        [
            web.post("/session", manager.create),
            web.get("/session/_/logs", manager.task_logs),
            web.get("/session/{session}", manager.info),
            web.delete("/session/{session}", manager.end),
            web.get("/session/{session}/logs", manager.logs),
            web.get("/stream/session/{session}/tcpproxy", manager.tunnel),
            web.post("/admin/gql", manager.gql),
        ]
    )
    runners = [
        web.AppRunner(model, access_log=None, shutdown_timeout=1),
        web.AppRunner(app, access_log=None, shutdown_timeout=1),
    ]
    ports = []
    for runner in runners:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ports.append(runner.addresses[0][1])
    manager.model_port = ports[0]
    manager.endpoint = f"http://127.0.0.1:{ports[1]}"
    ready.set()
    await stop.wait()
    for runner in runners:
        await runner.cleanup()


@contextmanager
def running() -> Iterator[Manager]:
    """A manager that answers while this is open."""
    manager, ready = Manager(), threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(_serve(manager, ready, stop)), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield manager
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()
