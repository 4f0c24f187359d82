"""``docflow deploy backendai``: a model as a vLLM server in Backend.AI sessions, with one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from docflow.deploy.backendai.manager import Session

RESOURCES = "Resources"
SERVER = "The server"
_ALL_PRESETS_COLUMNS = 95
"""Of a terminal, for the whole table of presets."""


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

    from docflow.cli.deploy_shown import keep_request, show_deployed, show_plan
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
        keep_request(made)
    if credentials is None:
        show_plan(made, notes, as_json=as_json, verbose=verbose)
        return
    for line in notes:
        complain("note", line)
    if verbose and not as_json:
        show_plan(made, (), as_json=False, verbose=True)

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
    show_deployed(made, sessions, ready=wait, as_json=as_json)


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
    console = output_console()
    columns = ["model", "for", "GPUs", "memory", "context", "weights", "quantised"]
    if console.width < _ALL_PRESETS_COLUMNS:  # numbers and names whole, rather than a bit of everything
        columns.remove("quantised")
    table = plain_table()
    for column in columns:
        left = column in ("model", "for", "quantised")
        table.add_column(column, no_wrap=column != "for", justify="left" if left else "right")
    for name, preset in known().items():
        quantised = preset.quantization or ("as " + ", ".join(preset.quantized) if preset.quantized else "")
        table.add_row(
            name,
            preset.about,
            str(preset.gpus),
            preset.memory,
            f"{preset.context:,}",
            f"{preset.weights:g} GB",
            *([quantised] if "quantised" in columns else ()),
        )
    console.print(table)


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
