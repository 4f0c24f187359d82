"""``docflow engines up``: an engine on this machine, by one command."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from docflow.deploy.local.up import Prepared, Starting, Times
    from docflow.engines.started import Started
    from docflow.settings import Settings


class WithFurther(TyperCommand):
    """A command that hands on what stands after ``--`` (``context.args``): none of it is an argument of its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own, further = args, []
        if "--" in args:
            place = args.index("--")
            own, further = args[:place], args[place + 1 :]
        super().parse_args(ctx, own)
        ctx.args = further
        return further


def up(
    context: typer.Context,
    kind: Annotated[Literal["sglang", "vllm"], typer.Argument(metavar="sglang|vllm", help="Which engine.")],
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A model's folder, its id on the Hub (ORG/NAME), or an alias (models.aliases).",
            show_default="Qwen/Qwen2-VL-2B-Instruct",
        ),
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="What it is called here, where several of a kind run.", show_default="its kind"
        ),
    ] = "",
    device: Annotated[
        Literal["auto", "cuda", "cpu"],
        typer.Option(metavar="auto|cuda|cpu", help="On GPUs, or on the CPU, which is for trying things out."),
    ] = "auto",
    port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT",
            min=1,
            max=65535,
            help="The port on 127.0.0.1.",
            show_default="the first that is free from 30000 (sglang) or 30001 (vllm)",
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until it has read a page, or come back at once.")
    ] = True,
    timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=1, help="How long to wait for it, a first download of the model included."),
    ] = 1800.0,
    python: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="The Python of an environment of your own in which the engine is installed.",
            show_default="an environment that docflow makes",
        ),
    ] = "",
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Make docflow's environment for it anew.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the command that would be run, and start nothing.")
    ] = False,
) -> None:
    """Start SGLang or vLLM on this machine, and wait until it has read a page.

    The engine gets an environment of its own, made the first time and never docflow's; flags that suit the GPU's memory
    and the model; a port on 127.0.0.1 and a key that only you can read. It goes on when the command has ended: docflow
    extract --engine auto uses it, docflow engines down ends it. What stands after -- goes to the engine as it is.

    The exit code is 0 when it has read a page (or, with --no-wait, was started), 2 for bad usage and where one of this
    name runs already, 3 where it cannot be started or is not ready in time, 130 after Ctrl-C. Nothing is left running
    then.

    Examples:

        docflow engines up vllm
        docflow engines up sglang Qwen/Qwen2.5-VL-7B-Instruct --port 30000
        docflow engines up vllm models/mine --device cpu
        docflow engines up vllm --dry-run -- --max-num-seqs 64
    """
    from docflow.cli.terminal import output_console, printable
    from docflow.deploy.local.model_facts import DEFAULT_MODEL
    from docflow.deploy.local.up import Times, Wanted, begin, plain_options, prepare
    from docflow.settings import load_settings

    settings = load_settings()
    wanted = Wanted(
        kind=kind,
        model=model or DEFAULT_MODEL,
        name=name,
        device=device,
        port=port or 0,
        python=python,
        further=plain_options(context.args),
        rebuild=rebuild,
    )
    times = Times()
    with _ended_by_signals(), _saying() as say:
        prepared = prepare(wanted, settings, say, dry=dry_run)
    if dry_run:
        for reason in prepared.plan.reasons:
            typer.echo(f"# {printable(reason)}", err=True)
        typer.echo(prepared.shown)
        return
    times.note("environment and model looked up")
    console = output_console()
    for reason in prepared.plan.reasons:
        console.print(printable(reason))
    with _ended_by_signals():
        starting = begin(prepared)
        try:
            console.print(printable(f"{starting.started.name} starts at {starting.started.url}"))
            console.print(printable(f"log: {starting.started.log}"))
            if wait:
                _wait(starting, settings, time.monotonic() + timeout, times, console.print)
        except BaseException:  # Ctrl-C among them: nothing that was started is left behind
            starting.abandon()
            raise
    _next_steps(starting.started, prepared, times, wait=wait)


def _wait(
    starting: Starting, settings: Settings, until: float, times: Times, print_line: Callable[[str], None]
) -> None:
    with _watching(starting.started) as told:
        starting.wait(until, told)
    print_line(f"loaded after {times.note('started and loaded'):.0f} s")
    with _watching(starting.started):
        status = starting.prove(settings, until)
    print_line(f"read a page of the samples in {times.note('first page read'):.1f} s ({status})")


@contextlib.contextmanager
def _saying() -> Iterator[Callable[[str], None]]:
    """What takes long is said once, on stderr, and shown to go on where somebody watches."""
    from docflow.cli.terminal import error_console, is_terminal, printable

    console = error_console()
    if not is_terminal(sys.stderr):
        yield lambda text: console.print(printable(text))
        return
    with console.status("looking at the machine and the model") as status:

        def say(text: str) -> None:
            console.print(printable(text))
            status.update(printable(text.partition(" (")[0]))

        yield say


@contextlib.contextmanager
def _watching(started: Started) -> Iterator[Callable[[str], None]]:
    """The seconds that have passed, and the last line of the engine's log, where somebody watches."""
    from rich.text import Text

    from docflow.cli.terminal import error_console, is_terminal, printable

    if not is_terminal(sys.stderr):
        yield lambda _: None
        return
    console = error_console()
    begun = time.monotonic()
    with console.status(f"waiting for {started.name}") as status:

        def told(line: str) -> None:
            text = Text(f"waiting for {started.name}, {time.monotonic() - begun:.0f} s  {printable(line)}")
            text.truncate(max(20, console.width - 4), overflow="ellipsis")
            status.update(text)

        yield told


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and a closed terminal end what is under way as Ctrl-C does: with everything cleaned up."""

    def stop(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    heeded = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) != signal.SIG_IGN]  # nohup
    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _next_steps(started: Started, prepared: Prepared, times: Times, *, wait: bool) -> None:
    from rich.text import Text

    from docflow.cli.terminal import output_console, printable

    console = output_console()
    if wait:
        parts = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in times.parts.items())
        console.print(f"ready: {sum(times.parts.values()):.0f} s in all ({parts})")
    for label, command in (
        ("use it ", "docflow extract FOLDER --engine auto"),
        ("look   ", f"docflow engines list; docflow engines logs {started.name} -f"),
        ("end it ", f"docflow engines down {started.name}"),
    ):
        console.print(Text.assemble((f"{label} ", "bold"), printable(command)), soft_wrap=True)
