"""``docflow models list|load|unload|pull``: models by name, on this machine and in a service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from docflow.models.pulling import Plan
    from docflow.settings import Settings

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="An alias, a GGUF file, a folder, or a model's name on the Hub.")
]
Url = Annotated[
    str | None, typer.Option(metavar="URL", help="A docflow service that runs models (docflow serve --models).")
]
Backend = Annotated[
    str | None, typer.Option(metavar="vllm|transformers|llama-cpp", help="Who runs it, whatever its name says.")
]
_REMARKS_BESIDE = 110
"""Columns of a terminal that has room for what is to be said of a model in its row; below its name otherwise."""
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def listing(url: Url = None, as_json: AsJson = False) -> None:
    """List the models that can be named: aliases, GGUF files, and what was downloaded from the Hub.

    For each: who would run it, the memory it needs, and whether it fits now; where no backend is installed, what is
    missing. With --url, a service's models, and which of them are loaded. The key of a service that wants one is
    DOCFLOW_API_KEY.

    Examples:

        docflow models list
        docflow models list --url http://127.0.0.1:8000
    """
    from docflow.settings import load_settings

    settings = load_settings()
    listed = _remote(url, settings).list() if url else _local_list(settings)
    if as_json:
        import json

        typer.echo(json.dumps(listed, indent=2, ensure_ascii=False))
        return
    _show(listed)


def load(
    name: Name,
    url: Url = None,
    backend: Backend = None,
    context: Annotated[
        int | None, typer.Option(metavar="TOKENS", min=0, help="Tokens of a conversation with its answer.")
    ] = None,
    device: Annotated[str | None, typer.Option(metavar="auto|cpu|cuda", help="Where it is loaded.")] = None,
) -> None:
    """Load a model into a service, or without --url try whether it can be loaded here.

    The trial loads the model in this process, lets it write a word (or embed one), says how long that took and what it
    needs, and gives it up again. Nothing is downloaded: docflow models pull does that.

    Examples:

        docflow models load qwen2-vl-2b --url http://127.0.0.1:8000
        docflow models load ./small.gguf --context 4096
    """
    from docflow.cli.terminal import output_console, printable
    from docflow.settings import load_settings
    from docflow.sizes import shown_size

    settings = load_settings()
    given: dict[str, Any] = {"context": context, "device": device}
    options = {key: value for key, value in given.items() if value is not None}
    console = output_console()
    if url:
        state = _remote(url, settings).load(name, backend or "", options)
        who = str(state["backend"]).replace("_", "-")
        console.print(f"{printable(name)} is loaded by {who}, with {shown_size(int(state['memory_bytes']))}.")
        return
    state = _tried(settings, name, options, backend)
    who = str(state["backend"]).replace("_", "-")
    console.print(
        f"{printable(name)} can be loaded by {who}: {shown_size(state['memory_bytes'])} of memory, a context of"
        f" {state['context']:,} tokens, loaded in {state['load_seconds']:.1f} s,"
        f" {state['did']} in {state['answer_seconds']:.1f} s."
    )


def unload(name: Name, url: Url = None) -> None:
    """Unload a model from a service, once the requests at it are answered; its memory is given back.

    Without --url it is the service of this machine, at the address that the settings name (serve.host, serve.port).

    Examples:

        docflow models unload qwen2-vl-2b
        docflow models unload qwen2-vl-2b --url http://gpu1:8000
    """
    from docflow.cli.terminal import output_console, printable
    from docflow.settings import load_settings

    settings = load_settings()
    host = f"[{settings.serve.host}]" if ":" in settings.serve.host else settings.serve.host
    was_loaded = _remote(url or f"http://{host}:{settings.serve.port}", settings).unload(name)
    output_console().print(f"{printable(name)} {'is unloaded' if was_loaded else 'was not loaded'}.")


def pull(
    name: Name,
    revision: Annotated[
        str, typer.Option(metavar="REVISION", help="A branch, tag or commit.", show_default="the newest")
    ] = "",
    file: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Download this file, or those that match (*); may be given several times."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be downloaded, and end.")] = False,
) -> None:
    """Download a model from the Hub into its cache, or go on with a download that broke off.

    Weights (safetensors, or the one GGUF file there is), configuration and tokenizer are taken, nothing that would run
    code. HF_TOKEN is the token for models that want one, HF_HOME the folder of the cache, HF_ENDPOINT a mirror.

    Examples:

        docflow models pull Qwen/Qwen2-VL-2B-Instruct
        docflow models pull ggml-org/Qwen2-VL-2B-Instruct-GGUF --file "*Q4_K_M.gguf" --file "mmproj*Q8_0.gguf"
    """
    from docflow.cli.terminal import error_console, output_console, printable
    from docflow.models.configs import BUILT_IN
    from docflow.models.pulling import Hub
    from docflow.settings import load_settings
    from docflow.sizes import shown_size

    alias = {**BUILT_IN, **load_settings().models.aliases}.get(name)
    hub = Hub()
    plan = hub.plan(alias.model_id if alias else name, revision, file or ())
    console = output_console()
    if dry_run:
        _show_plan(plan)
        return
    files = f"{len(plan.files)} file{'s' if len(plan.files) != 1 else ''}, {shown_size(plan.total_bytes)}"
    if plan.missing_bytes:
        error_console().print(
            f"{printable(plan.name)} at {plan.commit[:12]}: {files} ({shown_size(plan.missing_bytes)} to go)."
        )
    folder = hub.pull(plan, revision)
    console.print(f"{printable(plan.name)} is in {printable(folder)} ({files}).")


# --- what the commands stand on ---------------------------------------------------------------------------------------


def _remote(url: str, settings: Settings) -> Any:
    from docflow.models.remote import RemoteModels

    key = settings.servers.api_key
    return RemoteModels(url, key.get_secret_value() if key else "")


def _local_list(settings: Settings) -> dict[str, Any]:
    import asyncio

    from docflow.engines.local import backends
    from docflow.models import UnifiedModelManager

    async def ask() -> dict[str, Any]:
        async with UnifiedModelManager(settings, only_to_list=True) as manager:
            return {
                "default": manager.settings.default,
                "active_backend": manager.active_backend or None,
                "backends": list(manager.managers),
                "missing": {name: why for name in backends.TABLE if (why := backends.why_not(name))},
                "models": await manager.list_models(),
            }

    return asyncio.run(ask())


def _tried(settings: Settings, name: str, options: dict[str, Any], backend: str | None) -> dict[str, Any]:
    import asyncio
    import time

    from docflow.errors import ConfigError, DocflowError
    from docflow.models import UnifiedModelManager
    from docflow.settings import ModelOptions

    if options.get("device", "auto") not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"there is no device {options['device']!r}", hint="Write auto, cpu or cuda.")

    async def ask() -> dict[str, Any]:
        async with UnifiedModelManager(settings) as manager:
            await manager.load_model(name, ModelOptions(**options) if options else None, backend)
            loaded = manager.loaded(name)
            assert loaded is not None
            started = time.monotonic()
            did = "a token written"
            try:
                await manager.generate_completion("Hello", model=name, max_tokens=1)
            except DocflowError:  # one that gives vectors alone
                await manager.embed("Hello", model=name)
                did = "a vector made"
            return {
                "backend": loaded.model.backend,
                "memory_bytes": loaded.needed,
                "context": loaded.model.context,
                "load_seconds": loaded.seconds,
                "answer_seconds": time.monotonic() - started,
                "did": did,
            }

    return asyncio.run(ask())


def _show(listed: dict[str, Any]) -> None:
    from rich.text import Text

    from docflow.cli.terminal import output_console, plain_table, printable
    from docflow.sizes import shown_size

    console = output_console()
    table = plain_table()
    sizes = any(one["memory_bytes"] is not None for one in listed["models"])  # else room for the remarks
    below = console.width < _REMARKS_BESIDE
    for title in ("model", *(("backend", "memory") if sizes else ()), "", *(() if below else ("remarks",))):
        table.add_column(title, overflow="fold", no_wrap=title != "remarks" and not (below and title == "model"))
    for one in listed["models"]:
        word, style = _state(one)
        size = "" if one["memory_bytes"] is None else shown_size(int(one["memory_bytes"]))
        run_by = (str(one["backend"] or "").replace("_", "-"), size) if sizes else ()
        remarks = [f"= {one['alias']}"] if one["alias"] else []
        remarks += [one["problem"]] if one["problem"] and one["present"] else []
        remarks += ["default"] if one["id"] == listed["default"] else []
        name, remark = printable(one["id"]), printable("; ".join(remarks))
        cells = [f"{name}\n  {remark}" if below and remark else name, *run_by, Text(word, style=style)]
        table.add_row(*cells, *(() if below else (remark,)))
    console.print(table)
    active = listed["active_backend"]
    if active:
        who = ", ".join(str(name).replace("_", "-") for name in listed["backends"])
        console.print(f"Backends here: {who}. Names that leave it open go to {active.replace('_', '-')}.")
    else:
        _show_missing(listed)


def _show_missing(listed: dict[str, Any]) -> None:
    """What is said in place of the backends where none can be used, or not the one that the settings name."""
    from docflow.cli.terminal import output_console, printable
    from docflow.engines.local.backends import EXTRAS

    console = output_console()
    if listed["backends"]:
        console.print("The backend that models.mode names cannot be used here:")
    else:
        console.print("No backend can be used here, so none of these can be loaded:")
    for name, why in listed["missing"].items():
        console.print(f"  {name.replace('_', '-')}: {printable(why)}", markup=False)
        if name in EXTRAS and "not installed" in why:
            console.print(f'    pip install "docflow[{EXTRAS[name]}]"', markup=False)


def _state(one: dict[str, Any]) -> tuple[str, str]:
    if one["loaded"]:
        return "loaded", "green"
    if one["loading"]:
        return "loading", "yellow"
    if not one["present"]:
        return "not here", "dim"
    if one["problem"]:
        return "cannot", "red"
    return ("fits", "") if one["fits"] else ("too large", "yellow")


def _show_plan(plan: Plan) -> None:
    from docflow.cli.terminal import output_console, plain_table, printable
    from docflow.sizes import shown_size

    console = output_console()
    table = plain_table()
    table.add_column("file", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    for file, size in plan.files:
        table.add_row(printable(file), shown_size(size))
    console.print(table)
    console.print(
        f"{printable(plan.name)} at {plan.commit[:12]}: {shown_size(plan.missing_bytes)} of"
        f" {shown_size(plan.total_bytes)} to go."
    )
