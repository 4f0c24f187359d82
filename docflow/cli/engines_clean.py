"""``docflow engines clean``: environments that nobody uses any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from docflow.deploy.local.cleaning import Environment


def clean(
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that the next docflow engines up would use: it makes them anew.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what there is, and remove nothing.")] = False,
) -> None:
    """Remove the engines' environments of earlier versions, and what interrupted builds left.

    Says what there is with its size first. One in which something runs stays. Logs and models stay too.

    Examples:

        docflow engines clean --dry-run
        docflow engines clean
    """
    from docflow.cli.terminal import output_console, printable
    from docflow.deploy.local.cleaning import environments, remove
    from docflow.engines.started import engines_folder
    from docflow.errors import StorageError
    from docflow.sizes import shown_size

    root = engines_folder() / "environments"
    console = output_console()
    found = environments(root)
    if not found:
        console.print(printable(f"There is no environment in {root}."), soft_wrap=True)
        return
    going = [one for one in found if not one.user and (everything or not one.current)]
    for one in found:
        console.print(printable(f"{one.path.name}: {_said(one, goes=one in going)}"), soft_wrap=True)
    if not going:
        console.print("There is nothing to remove.")
        return
    if dry_run:
        return
    gone = []
    for one in going:
        try:
            if remove(one):
                gone.append(one)
            else:
                console.print(printable(f"{one.path.name} is in use by now: it stays"), soft_wrap=True)
        except OSError as error:
            raise StorageError(
                f"{one.path} cannot be removed: {error.strerror or error}", hint="Remove the folder by hand."
            ) from error
    if gone:
        console.print(f"Removed {len(gone)}, {shown_size(sum(one.size - one.shared for one in gone))} are free again.")
        if any(one.shared for one in gone):
            console.print("What uv's cache keeps of them goes with: uv cache prune")


def _said(one: Environment, *, goes: bool) -> str:
    from docflow.sizes import shown_size

    size = shown_size(one.size) + (f" ({shown_size(one.shared)} of it uv's cache has too)" if one.shared else "")
    if one.user:
        return f"{size}, in use by {one.user}: stays"
    if goes:
        return f"{size}, {'of this version' if one.current else 'not of this version, or half made'}: goes"
    return f"{size}, of this version: stays"
