"""From a plan to servers that answer: create the sessions, wait until the model's API is reachable, say why not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from docflow.deploy.backendai import troubles
from docflow.deploy.backendai.manager import ENDED, Manager, Session
from docflow.deploy.backendai.plan import Plan, without_secrets
from docflow.deploy.backendai.tunnel import local_port
from docflow.durations import duration
from docflow.errors import DeployError, DeployTimeout, ResourcesError

Tell = Callable[[str], None]
"""Takes one line of progress."""

LOOK_SECONDS = 3.0
_LOST_AFTER = 3
"""So many answers in a row that there is no such session: one may come from a manager that was just restarted."""
_UNREACHABLE_SECONDS = 120.0
_TELL_SECONDS = 30.0
_LOG_SECONDS = 15.0
_TAIL = 20


async def create(manager: Manager, plan: Plan) -> list[Session]:
    """Create all sessions of a plan; none is left where one of them cannot be had. Raises DeployError."""
    made: list[Session] = []
    try:
        for name in plan.names:
            made.append(await manager.create(plan.request(name)))
    except DeployError:
        for session in made:
            await _end_quietly(manager, session)
        raise
    return made


async def wait(manager: Manager, plan: Plan, session: Session, seconds: float, tell: Tell, *, verbose: bool) -> None:
    """Wait until the model answers through the tunnel, for at most ``seconds``.

    Raises DeployTimeout at the end of the time (the session stays), ResourcesError where it got no room in that time,
    and the reason as DeployError where the session ended, was lost, or its server died.
    """
    watch = _Watch(manager, plan, session, seconds, tell, verbose)
    await watch.until_ready()


class _Watch:
    """One session that is waited for."""

    def __init__(
        self, manager: Manager, plan: Plan, session: Session, seconds: float, tell: Tell, verbose: bool
    ) -> None:
        self._manager, self._plan, self._session, self._most = manager, plan, session, seconds
        self._tell, self._verbose = tell, verbose
        self._begun = time.monotonic()
        self._status = ""
        self._told = 0.0
        self._log = ""
        self._log_at = 0.0
        self._missing = 0
        self._away_since = 0.0

    async def until_ready(self) -> None:
        name = self._session.name
        async with local_port(self._manager, self._session.id, self._plan.port) as url:
            while True:
                await self._look()
                if self._status == "RUNNING" and await _answers(url, self._plan.environment["VLLM_API_KEY"]):
                    self._tell(f"{name}: the model answers after {duration(self._passed())}")
                    return
                if self._passed() >= self._most:
                    raise await self._too_late()
                await asyncio.sleep(LOOK_SECONDS)

    def _passed(self) -> float:
        return time.monotonic() - self._begun

    async def _look(self) -> None:
        """The session's status now, told where it is another one. Raises DeployError where nothing comes of it."""
        name = self._session.name
        try:
            found = await self._manager.info(self._session.id)
        except DeployError as error:
            await self._unseen(error)
            return
        self._missing, self._away_since = 0, 0.0
        changed, self._status = found.status != self._status, found.status
        if found.status in ENDED:
            info = f" ({found.status_info})" if found.status_info else ""
            raise await self._died(f"session {name} ended: {found.status}{info}", found.status_info)
        if changed or time.monotonic() - self._told > _TELL_SECONDS:
            self._told = time.monotonic()
            doing = "the model loads" if found.status == "RUNNING" else found.status_info
            self._tell(f"{name}: {found.status}{f', {doing}' if doing else ''} ({duration(self._passed())})")
        if found.status == "RUNNING" and time.monotonic() - self._log_at > _LOG_SECONDS:
            await self._read_log()

    async def _unseen(self, error: DeployError) -> None:
        """A look that failed: once or twice does no harm, as when a manager is restarted."""
        if error.retryable:
            self._away_since = self._away_since or time.monotonic()
            if time.monotonic() - self._away_since > _UNREACHABLE_SECONDS:
                raise error
        elif type(error) is not DeployError:  # the keys are refused: that does not go away
            raise error
        else:
            self._missing += 1
            if self._missing >= _LOST_AFTER:
                raise await self._died(f"session {self._session.name} is gone") from error

    async def _read_log(self) -> None:
        """Keep the log while it can be had: an ended session's may be gone with it."""
        self._log_at = time.monotonic()
        try:
            log = without_secrets(await self._manager.logs(self._session), self._plan.secrets())
        except DeployError:
            return
        if log and log != self._log:
            self._log = log
            if self._verbose:
                self._tell(f"{self._session.name}: {log.rstrip().splitlines()[-1][:200]}")

    async def _died(self, message: str, status_info: str = "") -> DeployError:
        await self._read_log()
        token_given = bool(self._plan.environment.get("HF_TOKEN"))
        reason = troubles.of_log(f"{self._log}\n{status_info}", self._plan.model, token_given=token_given)
        tail = "\n".join(self._log.rstrip().splitlines()[-_TAIL:])
        if tail:
            self._tell(f"the end of its log:\n{tail}")
        if reason is not None:
            return reason
        name = self._session.name
        return DeployError(
            message,
            hint=f"Read docflow deploy sessions logs {name}, then end it where it is still listed (docflow deploy "
            f"sessions kill {name}) and deploy again.",
        )

    async def _too_late(self) -> DeployError:
        name, most = self._session.name, duration(self._most)
        if self._status not in ("RUNNING", ""):
            return ResourcesError(
                f"Insufficient GPU resources: session {name} has been {self._status} for {most}",
                hint=troubles.pending_hint(name),
            )
        await self._read_log()
        token_given = bool(self._plan.environment.get("HF_TOKEN"))
        if reason := troubles.of_log(self._log, self._plan.model, token_given=token_given):
            return reason
        return DeployTimeout(
            f"the model did not answer within {most}; session {name} goes on",
            hint=f"Large models take longer: docflow deploy sessions test {name} tries again, --timeout waits longer, "
            f"docflow deploy sessions logs {name} shows what it does.",
        )


async def _answers(url: str, key: str) -> bool:
    """Whether the server is well and has its model, asked at the address that clients use."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=20)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as client:
            for path in ("/health", "/v1/models"):
                async with client.get(url + path, allow_redirects=False) as response:
                    if response.status != 200:
                        return False
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False
    return True


async def _end_quietly(manager: Manager, session: Session) -> None:
    """End a session of a deployment that failed; that failure is what counts."""
    try:
        await manager.end(session.id, force=session.status == "PENDING")
    except DeployError:
        return
