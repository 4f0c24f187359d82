"""``docflow eval`` and ``docflow calibrate``: a dataset against what its documents truly say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from docflow.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from docflow.evaluation.calibration import Acceptance
    from docflow.evaluation.comparison import Change
    from docflow.evaluation.judging import Judged

Truth = Annotated[
    options.Place | None,
    typer.Argument(
        metavar="TRUTH",
        parser=options.place,
        help="A folder, or place in a bucket, with a file STEM.json for each document: the true record, or {record, "
        "boxes}. What reviewers said (OUT/corrections) is the truth of documents without a file.",
        show_default="the corrections alone",
    ),
]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="THEIRS=OURS",
        help="A field that the truth calls by another name: lines=items, lines[].name=items[].description. Repeatable.",
    ),
]
Program = Annotated[
    str | None,
    typer.Option(
        "--program", "-p", metavar="PROGRAM", help="Which program's rows are meant, where the truth does not say."
    ),
]
TruthLocale = Annotated[
    str | None,
    typer.Option(
        metavar="LOCALE", help="How dates and numbers are written in the truth, such as de_CH, where not as in JSON."
    ),
]

BELOW = 1
"""The exit code when a figure is below what was asked for."""


def evaluate(
    out: options.Dataset,
    truth: Truth = None,
    program: Program = None,
    renamed: Map = None,
    locale: TruthLocale = None,
    report: Annotated[
        options.Place | None,
        typer.Option(
            metavar="DIR",
            parser=options.place,
            help="Write report.md, report.json and report.html (one file to mail) there.",
        ),
    ] = None,
    compare: Annotated[
        options.Place | None,
        typer.Option(
            metavar="REPORT", parser=options.place, help="An earlier report.json: show what got better and worse."
        ),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIGURE=LEAST",
            help="Exit with 1 when a figure is lower: mean=0.9, total=0.95 (its F1), total.recall=0.9, "
            "items.rows_right=0.8, grounding.box_f1=0.7. Repeatable.",
        ),
    ] = None,
    fail_if_worse: Annotated[
        bool, typer.Option("--fail-if-worse", help="With --compare, exit with 1 when any figure got worse.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")] = False,
) -> None:
    """Score a dataset against the truth: by field, by list, by place, and what confidence is worth.

    Values are compared by kind: the same day, the same number, the same letters and digits. Rows of a list are matched
    whatever their order. Truth fields that the program does not have are listed.

    Examples:

        docflow eval out truth
        docflow eval out truth --report report --fail-under mean=0.9 --fail-under total=0.95
        docflow eval out truth --compare report/report.json --fail-if-worse
    """
    import json

    from docflow.errors import UsageError
    from docflow.evaluation.comparison import compare_reports, read_report
    from docflow.evaluation.evaluate import Evaluation
    from docflow.evaluation.report import write_report

    if fail_if_worse and compare is None:
        raise UsageError("--fail-if-worse needs an earlier report", hint="Name it with --compare.")
    least = _read_least(fail_under or ())
    earlier = None if compare is None else read_report(compare)
    made = Evaluation(_judged(out, truth, program, renamed, locale)).as_dict(
        out=str(out), truth=str(truth or "its corrections")
    )
    below = list(_below(made, least))
    changes = compare_reports(earlier, made) if earlier is not None else []
    if report is not None:
        write_report(report, made, changes)
    if as_json:
        print(json.dumps(made, ensure_ascii=True))  # noqa: T201 (what the command was asked for)
    else:
        _print_report(made, changes)
    _complain_below(below)
    worse = fail_if_worse and any(change.verdict in ("worse", "gone") for change in changes)
    raise typer.Exit(BELOW if below or worse else 0)


def _judged(
    out: options.Place,
    truth: options.Place | None,
    program: str | None,
    renamed: Iterable[str] | None,
    locale: str | None,
) -> Judged:
    from docflow.errors import UsageError
    from docflow.evaluation.judging import judge
    from docflow.evaluation.truth import read_renames, read_truths, reviewed_truths
    from docflow.fields import locale_named
    from docflow.storage import Dataset

    known = locale_named(locale) if locale else None
    dataset = Dataset(out)
    truths = [] if truth is None else read_truths(truth, read_renames(renamed or ()))
    truths += reviewed_truths(out, program)
    if not truths:
        raise UsageError(
            f"there is no truth, and nobody has reviewed {out} yet",
            hint="Name a folder of truth files, or look at the records with docflow review OUT.",
        )
    return judge(dataset, truths, program=program, locale=known)


def _read_least(given: Iterable[str]) -> dict[str, float]:
    from docflow.errors import UsageError

    least = {}
    for text in given:
        name, _, number = text.rpartition("=")
        try:
            least[name.strip()] = float(number)
        except ValueError:
            raise UsageError(f"{text!r} is no figure and number", hint="Write --fail-under mean=0.9.") from None
        if not name.strip():
            raise UsageError(f"{text!r} names no figure", hint="Write --fail-under mean=0.9.")
    return least


def _below(report: Mapping[str, Any], least: Mapping[str, float]) -> Iterable[tuple[str, float | None, float]]:
    from docflow.errors import UsageError
    from docflow.evaluation.evaluate import figure, figure_names

    for name, floor in least.items():
        try:
            value = figure(report, name)
        except KeyError:
            hint = f"There are {', '.join(figure_names(report)[:20])}."
            raise UsageError(f"the report has no figure {name!r}", hint=hint) from None
        if value is None or value < floor:
            yield name, value, floor


def _complain_below(below: Sequence[tuple[str, float | None, float]]) -> None:
    from docflow.cli.terminal import complain
    from docflow.evaluation.report import figure_text

    for name, value, floor in below:
        complain("error", f"{name} is {figure_text(value)}, below {floor:g}")


def _print_report(report: Mapping[str, Any], changes: Sequence[Change]) -> None:
    from rich.text import Text

    from docflow.cli.terminal import output_console, plain_table, printable
    from docflow.evaluation.report import (
        FIELD_COLUMNS,
        GROUNDING_LINES,
        LIST_COLUMNS,
        confidence_lines,
        figure_text,
        summary_lines,
    )

    console = output_console()
    for line in summary_lines(report):
        console.print(Text(printable(line)))
    for what, columns in (("fields", FIELD_COLUMNS), ("lists", LIST_COLUMNS)):
        if not report[what]:
            continue
        table = plain_table()
        for title in (what[:-1], *(title for _, title in columns)):
            table.add_column(title, justify="left" if title == what[:-1] else "right")
        for name, score in report[what].items():
            table.add_row(Text(printable(name)), *(figure_text(score[key]) for key, _ in columns))
        console.print()
        console.print(table)
    console.print()
    console.print(Text.assemble(("mean F1 ", "bold"), figure_text(report["mean"])))
    for key, text in GROUNDING_LINES:
        if report["grounding"][key] is not None:
            console.print(Text(f"{text}: {figure_text(report['grounding'][key])}"))
    for line in confidence_lines(report):
        console.print(Text(line))
    changed = [change for change in changes if change.verdict != "same"]
    if changes:
        console.print()
        console.print(Text("against the earlier report", style="bold"))
        if not changed:
            console.print(Text("nothing changed"))
    styles = {"better": "green", "worse": "red", "gone": "red"}
    for change in changed:
        text = f"{printable(change.name)}: {figure_text(change.before)} -> {figure_text(change.now)} "
        console.print(Text.assemble(text, (change.verdict, styles.get(change.verdict, ""))))


def calibrate(
    out: options.Dataset,
    truth: Truth = None,
    program: Program = None,
    renamed: Map = None,
    locale: TruthLocale = None,
    accept_error: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Let later runs mark the rows that need no look (column needs_review): at most this share of their "
            "values is expected to be wrong, as in 1%.",
        ),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Apply it to the rows that are there already, too; nothing is read again.")
    ] = False,
) -> None:
    """Fit confidence to labelled documents, so that of the values said to be 90% sure nine in ten are right.

    Fits each field of each program and engine to the rows that have truth, and writes OUT/calibration.json. Later runs
    into OUT apply it; the confidence from before stays in the rows as raw_confidence.

    Examples:

        docflow calibrate out truth
        docflow calibrate out truth --accept-error 1% --apply
    """
    from rich.text import Text

    from docflow.cli.terminal import complain, output_console, printable
    from docflow.errors import UsageError
    from docflow.evaluation.calibration import FILE
    from docflow.evaluation.fitting import FEWEST_DOCUMENTS, fit
    from docflow.evaluation.report import figure_text

    error = None if accept_error is None else options.read_share(accept_error)
    calibration, unfitted = fit(_judged(out, truth, program, renamed, locale), error)
    if not calibration.engines:
        raise UsageError(
            f"too few documents have truth: {max((one.documents for one in unfitted), default=0)}",
            hint=f"It takes {FEWEST_DOCUMENTS} documents of one program and engine; sixty give a useful calibration.",
        )
    path = out / FILE
    calibration.save(path)
    console = output_console()
    for one in calibration.engines:
        held_out = one.held_out
        console.print(Text(f"{printable(one.program)} by {printable(one.engine)} {printable(one.model)}", style="bold"))
        console.print(
            Text(
                f"{one.documents} documents, {held_out['answers']:.0f} answers in {len(one.values)} fields. "
                f"Calibration error on documents left out: {figure_text(held_out['ece_before'])} before, "
                f"{figure_text(held_out['ece'])} after."
            )
        )
        if (held_out["brier"] or 0.0) > (held_out["brier_before"] or 0.0):
            complain("note", "confidences did not get better on documents left out: label more documents")
        if error is not None:
            console.print(Text(_promise(error, one.row_threshold(error), one.rows)))
    for few in unfitted:
        name = f"{few.program} by {few.engine}"
        complain("note", f"{name}: {few.documents} documents are too few, their confidences stay as they are")
    console.print(Text(f"written to {printable(path)}; the next docflow extract into {printable(out)} applies it"))
    if apply:
        from docflow.evaluation.applying import apply_to_rows

        marks = apply_to_rows(out, calibration)
        said = f"applied to {marks.total():,} rows"
        if error is not None:
            said += f": {marks[True]:,} need a look, {marks[False]:,} do not"
            said += f", of {marks[None]:,} it cannot be told" if marks[None] else ""
        console.print(Text(said))


def _promise(error: float, threshold: float, acceptances: Sequence[Acceptance]) -> str:
    if threshold > 1:
        return f"No threshold shows an error of at most {error:.1%} on these documents: every row will need review."
    accepted = next(one for one in acceptances if one.threshold == threshold)
    return (
        f"Rows whose every value reaches {threshold:.4f} need no look: {accepted.coverage:.0%} of these documents, "
        f"with {accepted.observed:.1%} of their values wrong ({accepted.expected:.1%} expected)."
    )
