"""``docflow serve``: the gateway, the extraction API and the page for people."""

from __future__ import annotations

from typing import Annotated

import typer

from docflow.cli import options


def serve(
    host: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="The address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="PORT", min=0, max=65535, help="The port to listen on.", show_default="8000")
    ] = None,
    engine: options.Engine = None,
    fallback: options.Fallback = None,
    models: Annotated[
        bool | None, typer.Option("--models/--no-models", help="Run models by name in this process (serve.models).")
    ] = None,
) -> None:
    """Serve an OpenAI-compatible gateway, an extraction API and a page to try it on.

    Open to this machine alone, unless there are keys: DOCFLOW_SERVE_KEYS is NAME=KEY or NAME:admin=KEY, several with ;
    between them. Ctrl-C ends it once the requests in work are answered.

    Variables may also stand in a file .env in the working directory; those that are set in the environment count more.

    Examples:

        docflow serve
        docflow serve --engine sglang=http://gpu1:30000 --fallback vllm=http://gpu2:8000
        docflow serve --models
    """
    from docflow.cli.terminal import output_console, printable
    from docflow.engines.started import choose, is_auto
    from docflow.server.service.env_file import NAME, read_env_file
    from docflow.server.service.serving import serve_service
    from docflow.settings import load_settings

    taken = read_env_file()
    given = {
        "serve.host": host,
        "serve.port": port,
        "engine": ";".join(engine) if engine else None,
        "fallbacks": ";".join(fallback) if fallback else None,
        "serve.models": models,
    }
    settings = load_settings({key: value for key, value in given.items() if value is not None})
    console = output_console()

    if taken:
        console.print(f"From {NAME}: {', '.join(taken)}.")
    if is_auto(settings.engine):
        chosen = choose(settings.engine, settings.fallbacks)
        console.print(printable(chosen.note))
        named = {"engine": ";".join(chosen.engines), "fallbacks": ";".join(chosen.fallbacks)}
        settings = settings.model_copy(update=named)

    def started(url: str) -> None:
        console.print(f"docflow serves at {url} (its API: {url}/docs). Ctrl-C ends it.")

    serve_service(settings, started)
