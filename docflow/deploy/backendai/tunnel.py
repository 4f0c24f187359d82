"""A port on this machine that leads to one in a session, through the manager: where the model's API is reachable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from docflow.deploy.backendai.manager import Manager
from docflow.errors import DeployError, UsageError

if TYPE_CHECKING:
    import aiohttp

_CHUNK = 64 * 1024


@asynccontextmanager
async def local_port(
    manager: Manager, session: str, remote: int, *, bind: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """The address under which the port of the session answers while this is open.

    ``port`` 0 takes a free one. Every connection is a tunnel of its own, signed with the key pair: whoever can connect
    to the local port uses the session, so that it listens on loopback unless ``bind`` says otherwise. Raises UsageError
    where the local port cannot be had.
    """
    open_ones: set[asyncio.Task[None]] = set()

    async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with manager.tunnel(session, remote) as socket:
                await _pass_on(reader, writer, socket)
        except (DeployError, OSError):  # whoever connected sees the connection end, as of a server that is not up
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: asyncio's, of a coroutine given as callback, prints a traceback when it is cancelled.
        task = asyncio.create_task(passed_on(reader, writer))
        open_ones.add(task)
        task.add_done_callback(open_ones.discard)

    try:
        server = await asyncio.start_server(connected, bind, port)
    except OSError as error:
        raise UsageError(
            f"port {port} on {bind} cannot be listened on: {error.strerror or error}", hint="Choose another by --port."
        ) from error
    try:
        found = server.sockets[0].getsockname()
        host = f"[{found[0]}]" if ":" in found[0] else found[0]
        yield f"http://{host}:{found[1]}"
    finally:
        server.close()
        for task in tuple(open_ones):
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, socket: aiohttp.ClientWebSocketResponse
) -> None:
    """Both directions, until one of them ends."""

    async def up() -> None:
        while chunk := await reader.read(_CHUNK):
            await socket.send_bytes(chunk)

    async def down() -> None:
        async for message in socket:
            if not isinstance(message.data, bytes):
                return
            writer.write(message.data)
            await writer.drain()

    directions = [asyncio.create_task(up()), asyncio.create_task(down())]
    try:
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in directions:
            task.cancel()
        await asyncio.gather(*directions, return_exceptions=True)
