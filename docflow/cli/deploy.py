"""``docflow deploy``: the service in containers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compose(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write to; made when it is not there.")],
    overlay: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What stands beside the service; may be given several times. vllm and sglang are servers with a GPU, "
            "monitoring is Prometheus and Grafana, vlm puts service and vLLM into one container.",
        ),
    ] = None,
    wheel: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="A wheel of docflow to install in the image, instead of the released one.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that differ. The keys in .env stay.")] = False,
) -> None:
    """Write compose files for docflow serve, with everything they need, into a folder.

    The folder gets a .env with keys of its own, which only you may read; a second call leaves it alone, and adds what a
    further --overlay needs. Nothing is started: the command for that is printed.

    Examples:

        docflow deploy compose service
        docflow deploy compose service --overlay sglang --overlay vllm --overlay monitoring
    """
    import shlex

    from rich.text import Text

    from docflow.cli.terminal import output_console, printable
    from docflow.deploy.compose import write_compose

    written = write_compose(folder, overlay or (), wheel=wheel, force=force)
    console = output_console()
    console.print(f"{len(written.files)} files in {printable(folder)}")
    if written.keys_made:
        console.print(f"keys of the service and its monitoring: {printable(folder / '.env')}")
    command = f"cd {printable(shlex.quote(str(folder)))} && {written.command}"
    console.print(Text.assemble(("next  ", "bold"), command), soft_wrap=True)
