"""``docflow deploy sessions``: the sessions of a Backend.AI cluster, and the servers in them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from docflow.deploy.backendai.figures import Use
    from docflow.deploy.backendai.manager import Manager, Session

NEEDED = ("health", "models", "completion", "chat")
"""The steps that a text model must pass; others are told and do not count."""
NO_TEMPLATE = "chat template"
"""What vLLM's refusal of a chat says for models that have none."""

_Result = TypeVar("_Result")
Name = Annotated[str, typer.Argument(metavar="NAME", help="The session's name or id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def listing(as_json: AsJson = False) -> None:
    """List the active sessions: name, id, status, model, GPUs, age.

    Example:

        docflow deploy sessions list
    """
    from docflow.cli.terminal import output_console, plain_table, printable
    from docflow.deploy.backendai.figures import age_of, gpus_of
    from docflow.durations import duration

    sessions = _run(lambda manager: manager.sessions())
    if as_json:
        _print_json([_plain(session) for session in sessions])
        return
    if not sessions:
        typer.echo("no active session", err=True)
        return
    table = plain_table()
    for column in ("name", "id", "status", "model", "GPUs", "age"):
        table.add_column(column, no_wrap=True)
    for session in sessions:
        age = age_of(session)
        table.add_row(
            printable(session.name),
            printable(session.id),
            printable(session.status),
            printable(session.model or "-"),
            f"{gpus_of(session):g}",
            "-" if age is None else duration(age),
        )
    output_console().print(table)


def kill(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names or ids of sessions.")],
    force: Annotated[
        bool, typer.Option("--force", help="End also one that hangs; it may leave things behind.")
    ] = False,
) -> None:
    """End sessions, and free their GPUs.

    Where one of them is not there, none is ended and the exit code is 1.

    Example:

        docflow deploy sessions kill my-llama-1 my-llama-2
    """
    from docflow.cli.terminal import printable
    from docflow.deploy.backendai import keys

    async def end(manager: Manager) -> None:
        found = [await manager.named(name) for name in names]  # all are there, or none is ended
        for session in found:
            await manager.end(session.id, force=force)
            keys.forget(session.id)
            typer.echo(f"ended {printable(session.name)}")

    _run(end)


def logs(
    name: Name,
    lines: Annotated[int | None, typer.Option("--lines", metavar="N", min=1, help="The last N lines only.")] = None,
) -> None:
    """Print what a session has written.

    Names are those of active sessions; ended ones are known by their id only.

    Example:

        docflow deploy sessions logs my-llama --lines 50
    """
    from docflow.cli.terminal import printable
    from docflow.deploy.backendai import keys
    from docflow.deploy.backendai.credentials import hub_token
    from docflow.deploy.backendai.manager import Session
    from docflow.deploy.backendai.plan import without_secrets
    from docflow.errors import DeployError

    async def read(manager: Manager) -> str:
        try:
            session = await manager.named(name)
        except DeployError:
            session = Session(name, name, "")
        return without_secrets(await manager.logs(session), (hub_token(), keys.kept(session.id)))

    for line in _run(read).splitlines()[-(lines or 0) :]:
        typer.echo(printable(line))


def test(
    target: Annotated[str, typer.Argument(metavar="NAME|URL", help="A session, or the address of any server.")],
) -> None:
    """Test a server's API: health, models, a completion, a chat, and what docflow can use besides.

    The exit code is 0 when the first four pass; a chat does not count where the model has no chat template, nor do a
    JSON grammar and images, which not every model has. The key of a server given by its URL is DOCFLOW_API_KEY or
    VLLM_API_KEY.

    Examples:

        docflow deploy sessions test vllm-gpt2-1f2e3d
        docflow deploy sessions test http://localhost:8000
    """
    import os

    from docflow.deploy.backendai import keys
    from docflow.deploy.backendai.tunnel import local_port

    if "://" in target:
        key = os.environ.get("DOCFLOW_API_KEY") or os.environ.get("VLLM_API_KEY") or ""
        failed = _steps(target, key)
    else:

        async def through(manager: Manager) -> int:
            session = await _deployed(manager, target)
            async with local_port(manager, session.id, session.port) as url:
                return await asyncio.to_thread(_steps, url, keys.kept(session.id))

        failed = _run(through)
    if failed:
        raise typer.Exit(1)


def connect(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names or ids of sessions.")],
    port: Annotated[
        int,
        typer.Option("--port", "-p", metavar="PORT", min=0, max=65535, help="The first local port; 0 takes free ones."),
    ] = 8001,
    bind: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Where the ports listen. Whoever can connect uses the sessions with your key pair."
        ),
    ] = "127.0.0.1",
    as_json: AsJson = False,
) -> None:
    """Make servers in sessions reachable here, at ports of this machine, until Ctrl-C.

    A session's port is reached through the manager alone. This prints the addresses, and the line that gives them to
    docflow serve as upstreams.

    Examples:

        docflow deploy sessions connect my-llama-1 my-llama-2 --port 8001
    """
    from contextlib import AsyncExitStack

    from docflow.cli.deploy_shown import upstreams
    from docflow.cli.terminal import complain, printable
    from docflow.deploy.backendai.tunnel import local_port

    if bind not in ("127.0.0.1", "::1", "localhost"):
        complain("warning", f"everybody who can reach {bind} can use these sessions with your key pair")

    async def open_ports(manager: Manager) -> None:
        async with AsyncExitStack() as stack:
            found: list[tuple[Session, str]] = []
            for number, name in enumerate(names):
                session = await _deployed(manager, name)
                wanted = port + number if port else 0
                url = await stack.enter_async_context(
                    local_port(manager, session.id, session.port, bind=bind, port=wanted)
                )
                found.append((session, url))
            gateway = upstreams([(session.id, url) for session, url in found])
            if as_json:
                addresses = {session.name: url for session, url in found}
                _print_json({"addresses": addresses, "gateway_upstreams": gateway})
            else:
                for session, url in found:
                    typer.echo(f"{printable(session.name)}  {url}/v1")
                typer.echo(f'export GATEWAY_UPSTREAMS="{gateway}"')
            await asyncio.Event().wait()

    _run(open_ports)


def monitor(
    once: Annotated[bool, typer.Option("--once", help="Print one look, and end.")] = False,
    every: Annotated[float, typer.Option(metavar="SECONDS", min=1.0, help="Between two looks.")] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Watch what the running sessions use: GPUs, their memory, main memory, CPU. Ctrl-C ends it.

    Examples:

        docflow deploy sessions monitor
        docflow deploy sessions monitor --once --json
    """
    import sys

    from docflow.cli.terminal import is_terminal, output_console
    from docflow.deploy.backendai.figures import use_of

    async def watch(manager: Manager) -> None:
        from rich.live import Live

        console = output_console()
        live = None if once or as_json or not is_terminal(sys.stdout) else Live(console=console, auto_refresh=False)
        with live or _nothing():
            while True:
                found = [(session, use_of(session)) for session in await manager.sessions("RUNNING")]
                if as_json:
                    _print_json([_plain(session) | _figures(use) for session, use in found])
                elif live is not None:
                    live.update(_use_table(found), refresh=True)
                else:
                    console.print(_use_table(found))
                if once:
                    return
                await asyncio.sleep(every)

    _run(watch)


def kill_idle(
    idle: Annotated[str, typer.Option("--idle", metavar="TIME", help="How long nobody must have asked.")] = "30m",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which, and end none.")] = False,
    every: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Go on and look again so often, until Ctrl-C.", show_default="once"),
    ] = None,
) -> None:
    """End the servers that docflow deployed and that nobody has asked for a while.

    vLLM's own counters tell, through the tunnel. A server that never was asked is idle since its start; of another it
    is known from the second call on, so that this belongs into cron, or takes --every. Servers that do not tell are
    left alone, and so are sessions that are not docflow's.

    Examples:

        docflow deploy sessions kill-idle --idle 1h --dry-run
        docflow deploy sessions kill-idle --idle 30m --every 10m
    """
    from docflow.cli.terminal import printable
    from docflow.deploy.backendai import keys
    from docflow.deploy.backendai.idle import idleness
    from docflow.durations import duration, read_duration

    most = read_duration(idle)
    pause = read_duration(every) if every else None

    async def sweep(manager: Manager) -> None:
        while True:
            ours = [session for session in await manager.sessions() if session.port]
            for found in await idleness(manager, ours):
                name = printable(found.session.name)
                if found.seconds is None:
                    typer.echo(f"{name}: left alone, {found.why}")
                elif found.seconds < most:
                    typer.echo(f"{name}: idle for {duration(found.seconds)}, {found.why}")
                elif dry_run:
                    typer.echo(f"{name}: idle for {duration(found.seconds)}, {found.why}: would be ended")
                else:
                    await manager.end(found.session.id)
                    keys.forget(found.session.id)
                    typer.echo(f"{name}: idle for {duration(found.seconds)}, {found.why}: ended")
            if pause is None:
                return
            await asyncio.sleep(pause)

    _run(sweep)


def _run(work: Callable[[Manager], Awaitable[_Result]]) -> _Result:
    """Do something with the manager that the environment names."""
    from docflow.deploy.backendai.credentials import Credentials
    from docflow.deploy.backendai.manager import Manager

    credentials = Credentials.from_environment()

    async def done() -> _Result:
        async with Manager(credentials) as manager:
            return await work(manager)

    return asyncio.run(done())


async def _deployed(manager: Manager, name: str) -> Session:
    """A session with a server of docflow's in it."""
    from docflow.errors import DeployError

    session = await manager.named(name)
    if not session.port:
        raise DeployError(f"session {name} is none that docflow deploy backendai made: its server's port is not known")
    return session


def _steps(url: str, key: str) -> int:
    """Try a server; how many of the steps that count have failed."""
    from docflow.cli.terminal import printable
    from docflow.deploy.local.trying import steps
    from docflow.engines.base import ServerOptions

    failed = 0
    for step in steps(url, ServerOptions(api_key=key)):
        word = "pass"
        if not step.passed:
            counts = step.name in NEEDED and not (step.name == "chat" and NO_TEMPLATE in step.detail)
            word = "FAIL" if counts else "no"
            failed += counts
        typer.echo(f"{word:<5} {step.name:<13} {step.seconds:6.2f} s  {printable(step.detail[:200])}")
    return failed


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def _use_table(found: Sequence[tuple[Session, Use]]) -> Table:
    from docflow.cli.terminal import plain_table, printable

    table = plain_table()
    for column in ("session", "model", "GPUs", "GPU", "GPU memory", "CPU", "memory"):
        table.add_column(column, no_wrap=True)
    for session, use in found:
        table.add_row(
            printable(session.name),
            printable(session.model or "-"),
            f"{use.gpus:g}",
            _share(use.gpu),
            _of(use.gpu_memory, use.gpu_memory_total),
            _share(use.cpu),
            _of(use.memory, use.memory_total),
        )
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _of(used: float | None, total: float | None) -> str:
    if used is None:
        return "-"
    from docflow.sizes import shown_size

    return shown_size(int(used)) + (f" of {shown_size(int(total))}" if total else "")


def _plain(session: Session) -> dict[str, Any]:
    from docflow.deploy.backendai.figures import age_of, gpus_of

    return {
        "name": session.name,
        "id": session.id,
        "status": session.status,
        "status_info": session.status_info,
        "model": session.model or None,
        "port": session.port or None,
        "gpus": gpus_of(session),
        "age_seconds": age_of(session),
    }


def _figures(use: Use) -> dict[str, Any]:
    return {
        "gpu": use.gpu,
        "gpu_memory_bytes": use.gpu_memory,
        "gpu_memory_total_bytes": use.gpu_memory_total,
        "cpu": use.cpu,
        "memory_bytes": use.memory,
        "memory_total_bytes": use.memory_total,
    }


def _print_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
