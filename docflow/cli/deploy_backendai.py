"""``docflow deploy backendai``: a model as a vLLM server in Backend.AI sessions, with one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from docflow.deploy.backendai.manager import Session
    from docflow.deploy.backendai.plan import Plan

RESOURCES = "Resources"
SERVER = "The server"
FIRST_LOCAL_PORT = 8001
"""Where sessions connect puts the first server: docflow serve has 8000."""


def backendai(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="The model: org/name on the Hub, or its address there.")
    ],
    gpu_count: Annotated[
        int | None,
        typer.Option(
            "--gpu-count",
            "-g",
            metavar="N",
            min=1,
            help="GPUs of the session.",
            show_default="preset or 1",
            rich_help_panel=RESOURCES,
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory",
            "-m",
            metavar="SIZE",
            help="Main memory, as in 32g. It is not the GPUs' memory.",
            show_default="preset or 16g",
            rich_help_panel=RESOURCES,
        ),
    ] = None,
    cpu_count: Annotated[
        int | None,
        typer.Option(
            "--cpu-count",
            "-c",
            metavar="N",
            min=1,
            help="CPU cores of the session.",
            show_default="4",
            rich_help_panel=RESOURCES,
        ),
    ] = None,
    session_name: Annotated[
        str | None,
        typer.Option(
            "--session-name",
            "-n",
            metavar="NAME",
            help="The session's name: 4 to 64 letters, digits and hyphens.",
            show_default="made of the model's",
        ),
    ] = None,
    replicas: Annotated[
        int, typer.Option(metavar="N", min=1, help="Sessions with the same model, to share the load.")
    ] = 1,
    max_model_len: Annotated[
        int | None,
        typer.Option(
            metavar="TOKENS",
            help="Longest sequence.",
            show_default="preset or 4096, at most the model's own",
            rich_help_panel=SERVER,
        ),
    ] = None,
    quantization: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            help="awq or gptq, for repositories that are quantised so; fp8 for others.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    tensor_parallel_size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="GPUs that share the model.",
            show_default="the number of GPUs",
            rich_help_panel=SERVER,
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option("--port", "-p", metavar="PORT", help="The server's port in the session.", rich_help_panel=SERVER),
    ] = 8000,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="What the server listens on in its container; the manager reaches it from outside of that.",
            rich_help_panel=SERVER,
        ),
    ] = "0.0.0.0",  # noqa: S104 (in the session's container)
    images: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Most images of a request, for models that see.",
            show_default="preset",
            rich_help_panel=SERVER,
        ),
    ] = None,
    max_num_seqs: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Most requests in one batch.", rich_help_panel=SERVER)
    ] = None,
    max_num_batched_tokens: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Most tokens in one batch.", rich_help_panel=SERVER)
    ] = None,
    vllm_flag: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FLAG",
            help="A further flag for vllm serve, with its value; may be given several times.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE",
            envvar="BACKEND_AI_IMAGE",
            show_envvar=False,
            help="The container image, as the cluster calls it (BACKEND_AI_IMAGE).",
            show_default="cr.backend.ai/stable/vllm:latest",
        ),
    ] = None,
    gpu_slot: Annotated[
        str,
        typer.Option(
            metavar="SLOT", help="What the cluster calls GPUs: cuda.device or cuda.shares.", rich_help_panel=RESOURCES
        ),
    ] = "cuda.device",
    group: Annotated[
        str, typer.Option(metavar="NAME", help="The project (user group).", show_default="the manager's default")
    ] = "",
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="A variable of the session, set before vLLM starts; may be given several times.",
        ),
    ] = None,
    huggingface_token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            help="The Hub's token. HF_TOKEN or HUGGING_FACE_HUB_TOKEN is better: lists of processes show options.",
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the model's API answers.")] = False,
    timeout: Annotated[str, typer.Option(metavar="TIME", help="How long --wait waits, as in 90s, 30m, 2h.")] = "30m",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and show everything, without keys and network, and start nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show the request too, and the log while waiting.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="Show tracebacks, and keep the request without its secrets in temp/deploy_vllm_NAME.json."
        ),
    ] = False,
) -> None:
    """Deploy a model as a vLLM server in a Backend.AI session.

    Known models bring what suits them (docflow deploy presets). The manager's address and keys are
    BACKEND_AI_ENDPOINT, BACKEND_AI_ACCESS_KEY and BACKEND_AI_SECRET_KEY.

    The exit code is 0 when it is done, 1 when the deployment failed, 2 for bad usage, 3 when keys are missing or
    refused, 4 when resources are short, 5 when the model cannot be had, 6 when it is not ready in time.

    Examples:

        docflow deploy backendai microsoft/DialoGPT-medium --dry-run
        docflow deploy backendai Qwen/Qwen2-VL-7B-Instruct --wait
        docflow deploy backendai meta-llama/Llama-2-13b-chat-hf -g 2 -m 32g -c 8 --replicas 2
    """
    import os

    from docflow.cli.terminal import complain
    from docflow.deploy.backendai import hub, keys
    from docflow.deploy.backendai.credentials import Credentials, hub_token
    from docflow.deploy.backendai.plan import DEFAULT_IMAGE, Wishes, plan
    from docflow.deploy.backendai.presets import preset_of
    from docflow.durations import read_duration
    from docflow.errors import DeployError

    if debug:
        os.environ["DOCFLOW_DEBUG"] = "1"
    if huggingface_token:
        complain(
            "warning",
            "--huggingface-token shows the token in lists of processes and in the shell's history: set HF_TOKEN",
        )
    name = hub.model_id(model)
    seconds = read_duration(timeout)
    token = (huggingface_token or "").strip() or hub_token()
    credentials = None if dry_run else Credentials.from_environment()
    environment = [
        *(
            f"{one}={os.environ[one]}"
            for one in ("VLLM_USE_MODELSCOPE", "VLLM_WORKER_MULTIPROC_METHOD")
            if one in os.environ
        ),
        *(env or ()),
    ]
    elsewhere = any(one.lower() == "vllm_use_modelscope=true" for one in environment)
    facts, note = (None, "") if dry_run or elsewhere else hub.look_up(name, token)
    wishes = Wishes(
        gpus=gpu_count,
        memory=memory,
        cpus=cpu_count,
        name=session_name,
        max_model_len=max_model_len,
        quantization=quantization,
        tensor_parallel_size=tensor_parallel_size,
        port=port,
        host=host,
        image=image or DEFAULT_IMAGE,
        images=images,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        environment=environment,
        flags=vllm_flag or (),
        replicas=replicas,
        group=group,
        gpu_slot=gpu_slot,
    )
    made = plan(name, wishes, preset=preset_of(name), facts=facts, token=token, api_key=keys.new_key())
    notes = [*made.notes, *([note] if note else [])]
    if debug:
        _keep_request(made)
    if credentials is None:
        _show_plan(made, notes, as_json=as_json, verbose=verbose)
        return
    for line in notes:
        complain("note", line)
    if verbose and not as_json:
        _show_plan(made, (), as_json=False, verbose=True)

    import asyncio

    from docflow.deploy.backendai.life import create
    from docflow.deploy.backendai.life import wait as wait_for
    from docflow.deploy.backendai.manager import Manager

    sessions: list[Session] = []

    async def deploy() -> None:
        async with Manager(credentials) as manager:
            sessions.extend(await create(manager, made))
            for session in sessions:
                keys.keep(session.id, made.environment["VLLM_API_KEY"])
                typer.echo(f"{session.name}: created ({session.id})", err=True)
            if wait:
                await asyncio.gather(
                    *(wait_for(manager, made, session, seconds, _progress, verbose=verbose) for session in sessions)
                )

    try:
        asyncio.run(deploy())
    except (DeployError, KeyboardInterrupt):
        if sessions:
            names = " ".join(session.name for session in sessions)
            complain("note", f"sessions that run go on; docflow deploy sessions kill {names} ends them")
        raise
    _show_deployed(made, sessions, ready=wait, as_json=as_json)


def presets(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """List the models that docflow deploy backendai knows, and what it deploys them with.

    Example:

        docflow deploy presets
    """
    from docflow.cli.terminal import output_console, plain_table
    from docflow.deploy.backendai.presets import presets as known

    if as_json:
        import json

        typer.echo(json.dumps({name: preset.model_dump() for name, preset in known().items()}, indent=2))
        return
    table = plain_table()
    for column in ("model", "for", "GPUs", "memory", "context", "weights", "quantised"):
        table.add_column(column, no_wrap=True, justify="left" if column in ("model", "for", "quantised") else "right")
    for name, preset in known().items():
        table.add_row(
            name,
            preset.about,
            str(preset.gpus),
            preset.memory,
            f"{preset.context:,}",
            f"{preset.weights:g} GB",
            preset.quantization or ("as " + ", ".join(preset.quantized) if preset.quantized else ""),
        )
    output_console().print(table)


def scripts(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write to.")] = Path("backend.ai"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that differ.")] = False,
) -> None:
    """Write deploy-vllm-model.sh, vllm-examples.sh (with a menu) and their guide into a folder.

    The scripts call docflow deploy backendai and docflow deploy sessions, and do nothing else.

    Example:

        docflow deploy scripts backend.ai
    """
    from docflow.cli.terminal import printable
    from docflow.deploy.backendai.scripts import write_scripts

    for path in write_scripts(folder, force=force):
        typer.echo(printable(path))


def _progress(line: str) -> None:
    from docflow.cli.terminal import printable

    for part in line.splitlines():
        typer.echo(printable(part), err=True)


def _request_shown(made: Plan) -> dict[str, Any]:
    """The request for the first session, without its secrets."""
    body: dict[str, Any] = dict(made.request(made.names[0]))
    body["config"] = {**body["config"], "environ": made.shown_environment()}
    return body


def _keep_request(made: Plan) -> None:
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


def _show_plan(made: Plan, notes: Any, *, as_json: bool, verbose: bool) -> None:
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


def _show_deployed(made: Plan, sessions: list[Session], *, ready: bool, as_json: bool) -> None:
    import json
    import shlex

    from docflow.cli.deploy_sessions import upstreams
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
