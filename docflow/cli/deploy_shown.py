"""What ``docflow deploy backendai`` prints and keeps: plans, deployments and their addresses, never a secret."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from docflow.deploy.backendai.manager import Session
    from docflow.deploy.backendai.plan import Plan

FIRST_LOCAL_PORT = 8001
"""Where sessions connect puts the first server: docflow serve has 8000."""


def upstreams(found: Sequence[tuple[str, str]]) -> str:
    """The value of GATEWAY_UPSTREAMS for sessions and their addresses, for a shell's double quotes.

    The keys stand in it as the files that the shell reads them from.
    """
    import shlex

    from docflow.deploy.backendai import keys

    entries = []
    for number, (session, url) in enumerate(found, 1):
        name = "vllm" if number == 1 else f"vllm-{number}"
        path = keys.folder() / f"{session}.key"
        scheme, _, rest = url.partition("://")
        secret = f":$(cat {shlex.quote(str(path))})@"
        entries.append(f"{name}={scheme}://{secret}{rest}")
    return ";".join(entries)


def _request_shown(made: Plan) -> dict[str, Any]:
    """The request for the first session, without its secrets."""
    body: dict[str, Any] = dict(made.request(made.names[0]))
    body["config"] = {**body["config"], "environ": made.shown_environment()}
    return body


def keep_request(made: Plan) -> None:
    import json
    import os

    from docflow.errors import StorageError

    folder = Path("temp")
    path = folder / f"deploy_vllm_{made.names[0]}.json"
    try:
        folder.mkdir(exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("deploy_vllm_*\n", "utf-8")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(_request_shown(made), file, indent=2)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error
    typer.echo(f"request kept: {path}", err=True)


def _summary(made: Plan) -> dict[str, Any]:
    return {
        "model": made.model,
        "names": list(made.names),
        "image": made.image,
        "resources": {"gpus": made.gpus, "memory": made.memory, "cpus": made.cpus},
        "port": made.port,
        "max_model_len": made.max_model_len,
        "tensor_parallel_size": made.tensor_parallel_size,
        "quantization": made.quantization or None,
        "command": list(made.command),
        "environment": made.shown_environment(),
    }


def show_plan(made: Plan, notes: Any, *, as_json: bool, verbose: bool) -> None:
    import json
    import shlex

    if as_json:
        said = {"dry_run": True, **_summary(made), "notes": list(notes)}
        if verbose:
            said["request"] = _request_shown(made)
        typer.echo(json.dumps(said, indent=2, ensure_ascii=False))
        return
    rows = [
        ("model", made.model),
        ("session", ", ".join(made.names)),
        ("image", made.image),
        ("resources", f"{made.gpus} GPU, {made.memory} memory, {made.cpus} CPU"),
        ("length", f"{made.max_model_len} tokens"),
        ("command", shlex.join(made.command)),
        *(("variable", f"{name}={value}") for name, value in made.shown_environment().items()),
        *(("note", line) for line in notes),
    ]
    for label, value in rows:
        typer.echo(f"{label:<10} {value}")
    if verbose:
        typer.echo("request    POST /session")
        typer.echo(json.dumps(_request_shown(made), indent=2, ensure_ascii=False))


def show_deployed(made: Plan, sessions: list[Session], *, ready: bool, as_json: bool) -> None:
    import json
    import shlex

    from docflow.deploy.backendai import keys

    names = " ".join(shlex.quote(session.name) for session in sessions)
    first = shlex.quote(sessions[0].name)
    local = [f"http://127.0.0.1:{FIRST_LOCAL_PORT + number}" for number in range(len(sessions))]
    gateway = upstreams([(session.id, url) for session, url in zip(sessions, local, strict=True)])
    following = {
        "connect": f"docflow deploy sessions connect {names}",
        "test": f"docflow deploy sessions test {first}",
        "logs": f"docflow deploy sessions logs {first}",
        "kill": f"docflow deploy sessions kill {names}",
    }
    if as_json:
        said = {
            **_summary(made),
            "ready": ready,
            "sessions": [
                {
                    "name": session.name,
                    "id": session.id,
                    "address": url,
                    "key_file": str(keys.folder() / f"{session.id}.key"),
                }
                for session, url in zip(sessions, local, strict=True)
            ],
            "gateway_upstreams": gateway,
            "next": following,
        }
        typer.echo(json.dumps(said, indent=2, ensure_ascii=False))
        return
    for session, url in zip(sessions, local, strict=True):
        typer.echo(f"session    {session.name} ({session.id})")
        typer.echo(f"address    {url}/v1 while docflow deploy sessions connect runs")
        typer.echo(f"key        in {keys.folder() / f'{session.id}.key'}, which only you may read")
    typer.echo(f"model      {made.model}")
    typer.echo(f"resources  {made.gpus} GPU, {made.memory} memory, {made.cpus} CPU each")
    typer.echo(f'gateway    export GATEWAY_UPSTREAMS="{gateway}"')
    for label, command in following.items():
        typer.echo(f"{label:<10} {command}")
