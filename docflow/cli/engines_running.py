"""``docflow engines list|logs|test|monitor|down``: the engines that run on this machine."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from docflow.deploy.local.watching import Sight, Work
    from docflow.engines.started import Started

_FOLLOW_SECONDS = 0.3
_STYLES = {"ready": "green", "starting": "yellow", "silent": "red", "ended": "red"}

Name = Annotated[str, typer.Argument(metavar="NAME", help="The engine, as docflow engines list calls it.")]


def listing(
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each engine.")] = False,
) -> None:
    """List the engines that docflow engines up started: whether they answer, since when, and the memory they use.

    ready answers, starting does not yet, silent has stopped answering, and ended is gone (docflow engines down NAME
    forgets it; docflow engines logs NAME says why).

    Examples:

        docflow engines list
        docflow engines list --json
    """
    from docflow.cli.terminal import output_console
    from docflow.deploy.local.watching import look
    from docflow.engines.started import Register

    sights = [look(one) for one in Register().all()]
    if as_json:
        import json

        for sight in sights:
            typer.echo(json.dumps(_plain(sight), ensure_ascii=False))
        return
    console = output_console()
    if not sights:
        console.print("No engine was started here. docflow engines up vllm starts one.")
        return
    console.print(_sights_table(sights))


def logs(
    name: Name,
    lines: Annotated[int, typer.Option("-n", "--lines", metavar="N", min=0, help="Show the last N lines.")] = 50,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes, until Ctrl-C.")] = False,
) -> None:
    """Show what an engine printed. The log of one that failed to start is there too.

    Examples:

        docflow engines logs vllm
        docflow engines logs vllm -n 500
        docflow engines logs vllm -f
    """
    from docflow.cli.terminal import error_console, printable
    from docflow.engines.started import Register, engines_folder
    from docflow.errors import UsageError

    there = Register().find(name)
    log = Path(there.log) if there else engines_folder() / "logs" / f"{name}.log"
    if "/" in name or not log.is_file():
        raise UsageError(f"there is no engine {name!r}, and no log of one", hint="docflow engines list names them.")
    with log.open(encoding="utf-8", errors="replace") as file:
        kept = file.readlines()
        secret = there.key if there else ""  # SGLang writes all its settings into its log
        for line in kept[len(kept) - min(lines, len(kept)) :]:
            _print_line(line, secret)
        if not kept:
            error_console().print(f"{printable(name)} has written nothing: {printable(log)} is empty.")
        while follow:
            if line := file.readline():
                _print_line(line, secret)
            elif there is not None and there.alive:
                time.sleep(_FOLLOW_SECONDS)
            else:
                break


def test(
    engine: Annotated[str, typer.Argument(metavar="NAME|URL", help="An engine that runs here, or any server's URL.")],
) -> None:
    """Try an engine by small requests: health, models, a completion, a chat, JSON by a grammar, an image.

    The exit code is 0 when every step passes, 1 when one fails. docflow engines check URL looks at all that docflow
    needs, with the flag for what is missing. The key of servers that want one is DOCFLOW_API_KEY.

    Examples:

        docflow engines test vllm
        docflow engines test http://gpu1:30000
    """
    from rich.text import Text

    from docflow.cli.engines import api_key
    from docflow.cli.terminal import output_console, printable
    from docflow.deploy.local.trying import steps
    from docflow.engines.base import ServerOptions
    from docflow.settings import load_settings

    url = engine.partition("=")[2] or engine
    if "://" not in url:
        url = _running(engine).url
    settings = load_settings()
    console = output_console()
    options = ServerOptions(api_key=api_key(url, settings), connect_seconds=settings.servers.connect_seconds)
    done = []
    for step in steps(url, options):
        done.append(step)
        word, style = ("pass", "green") if step.passed else ("FAIL", "bold red")
        detail = printable(step.detail[:200])
        console.print(Text.assemble((f"{word}  ", style), f"{step.name:<14}{step.seconds:6.2f} s  {detail}"))
    failed = sum(not step.passed for step in done)
    console.print(f"{len(done) - failed} of {len(done)} steps passed")
    if failed:
        raise typer.Exit(1)


def monitor(
    once: Annotated[bool, typer.Option("--once", help="Print one look, over a second, and end.")] = False,
    every: Annotated[float, typer.Option(metavar="SECONDS", min=0.2, help="Between two looks.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each engine and look.")] = False,
) -> None:
    """Watch the engines at work: requests, tokens a second, hits of the prefix cache, memory, CPU. Ctrl-C ends it.

    Examples:

        docflow engines monitor
        docflow engines monitor --once --json
    """
    from docflow.cli.terminal import is_terminal, output_console
    from docflow.deploy.local.watching import Monitor
    from docflow.engines.started import Register
    from docflow.errors import UsageError

    watch = Monitor()
    engines = Register().all()
    if not engines:
        raise UsageError("no engine was started here", hint="docflow engines up vllm starts one.")
    watch.look(engines)
    console = output_console()

    def look() -> list[Work]:
        time.sleep(1.0 if once else every)
        return watch.look(Register().all())

    def show(works: list[Work]) -> None:
        if as_json:
            import json

            for work in works:
                typer.echo(json.dumps(_work(work), ensure_ascii=False))
        else:
            console.print(_work_table(works))

    if once or as_json or not is_terminal(sys.stdout):
        show(look())
        while not once:
            show(look())
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_work_table(look()), refresh=True)


def down(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The engine, as docflow engines list calls it.", show_default=False)
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="End every engine that was started here.")] = False,
) -> None:
    """End an engine with all its processes, and give back its memory. Its environment and its log stay.

    It is asked to end (SIGTERM), and what is left of it after 20 seconds is killed. The exit code is 0 when nothing of
    it runs any more.

    Examples:

        docflow engines down vllm
        docflow engines down --all
    """
    from docflow.cli.terminal import output_console, printable
    from docflow.deploy.local.up import end
    from docflow.engines.started import Register
    from docflow.errors import EngineUnavailable, UsageError

    if bool(name) == everything:
        raise UsageError("name one engine, or --all", hint="docflow engines list names them.")
    console = output_console()
    engines = Register().all() if everything else [_registered(name)]
    if not engines:
        console.print("No engine was started here.")
    left = []
    for one in engines:
        ran = one.alive
        if end(one):
            console.print(printable(f"{one.name} has ended" if ran else f"{one.name} had ended already; forgotten"))
        else:
            left.append(one.name)
    if left:
        raise EngineUnavailable(
            f"processes of {', '.join(left)} do not end", hint="The system holds them; see docflow engines list."
        )


def _registered(name: str) -> Started:
    from docflow.engines.started import Register
    from docflow.errors import UsageError

    there = Register().find(name)
    if there is None:
        known = ", ".join(one.name for one in Register().all())
        hint = f"Started were {known}." if known else "docflow engines up vllm starts one."
        raise UsageError(f"there is no engine {name!r} here", hint=hint)
    return there


def _running(name: str) -> Started:
    from docflow.errors import EngineUnavailable

    there = _registered(name)
    if not there.alive:
        raise EngineUnavailable(f"{name} has ended", hint=f"docflow engines logs {name} may say why.")
    return there


def _print_line(line: str, secret: str) -> None:
    from docflow.cli.terminal import printable

    text = printable(line.rstrip("\n"))
    typer.echo(text.replace(secret, "...") if secret else text)


# --- tables -------------------------------------------------------------------------------------------------------


def _sights_table(sights: list[Sight]) -> Table:
    from rich.text import Text

    from docflow.cli.terminal import plain_table, printable

    table = plain_table()
    for column in ("name", "state", "url", "model", "device", "up", "memory"):
        table.add_column(column, overflow="fold", no_wrap=column not in ("name", "model", "memory"))
    for sight in sights:
        one = sight.started
        table.add_row(
            printable(one.name),
            Text(sight.state, style=_STYLES[sight.state]),
            one.url,
            printable(one.served),
            one.device,
            _duration(sight.uptime) if sight.state != "ended" else "",
            _memory(sight),
        )
    return table


def _work_table(works: list[Work]) -> Table:
    from rich.text import Text

    from docflow.cli.terminal import plain_table, printable

    table = plain_table()
    for column in (
        "name",
        "state",
        "running",
        "waiting",
        "read/s",
        "write/s",
        "cache hits",
        "cache use",
        "memory",
        "CPU",
    ):
        left, two_words = column in ("name", "state"), " " in column
        table.add_column(column, justify="left" if left else "right", no_wrap=not two_words)
    for work in works:
        said = work.figures
        table.add_row(
            printable(work.sight.started.name),
            Text(work.sight.state, style=_STYLES[work.sight.state]),
            _figure(said.running),
            _figure(said.waiting),
            _figure(work.read_rate),
            _figure(work.write_rate),
            _share(said.prefix_cache_hit_rate),
            _share(said.kv_cache_use),
            _memory(work.sight),
            f"{work.cpu:.1f}",
        )
    return table


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _memory(sight: Sight) -> str:
    from docflow.sizes import shown_size

    main = shown_size(sight.memory) if sight.memory else ""
    return f"{main}, GPU {shown_size(sight.gpu_memory)}" if sight.gpu_memory else main


def _duration(seconds: float) -> str:
    minutes, hours = int(seconds) // 60, int(seconds) // 3600
    if hours >= 48:
        return f"{hours // 24} d"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min" if minutes else f"{seconds:.0f} s"


def _plain(sight: Sight) -> dict[str, Any]:
    one = sight.started
    return {
        "name": one.name,
        "state": sight.state,
        "engine": one.spec,
        "url": one.url,
        "model": one.served,
        "device": one.device,
        "pid": one.pid,
        "uptime_seconds": round(sight.uptime, 1),
        "memory_bytes": sight.memory,
        "gpu_memory_bytes": sight.gpu_memory,
        "log": one.log,
        "command": list(one.command),
    }


def _work(work: Work) -> dict[str, Any]:
    said = work.figures
    return {
        "name": work.sight.started.name,
        "state": work.sight.state,
        "running": said.running,
        "waiting": said.waiting,
        "prompt_tokens_per_second": work.read_rate,
        "output_tokens_per_second": work.write_rate,
        "prefix_cache_hit_rate": said.prefix_cache_hit_rate,
        "kv_cache_use": said.kv_cache_use,
        "memory_bytes": work.sight.memory,
        "gpu_memory_bytes": work.sight.gpu_memory,
        "cpu_cores": round(work.cpu, 2),
    }
