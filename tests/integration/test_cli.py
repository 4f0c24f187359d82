"""The command line as a user runs it: real processes, real files, exit codes, what is on which stream."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from reportlab.pdfgen.canvas import Canvas

from docflow.cli import main

LINES = ("ACME GmbH", "Hauptstrasse 5, 8000 Zurich", "Date: 12.03.2024", "Total CHF {total}")

SLOW = """
import time
from docflow.program import program
from docflow.programs.receipt import Receipt, receipt

@program(Receipt)
def slow(s, pages):
    time.sleep(0.2)
    receipt.function(s, pages)

@program(Receipt)
def raises(s, pages):
    raise ValueError("no [bold]luck[/bold]")
"""


def write_pdf(path: Path, total: str) -> Path:
    """A receipt with a text layer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = Canvas(str(path), invariant=1)
    for number, line in enumerate(LINES):
        canvas.drawString(72, 750 - 20 * number, line.format(total=total))
    canvas.save()
    return path


@pytest.fixture
def docs(in_tmp: Path) -> Path:
    """Two good documents and one that is cut off, in the working directory."""
    write_pdf(in_tmp / "docs" / "one.pdf", "12.50")
    whole = write_pdf(in_tmp / "docs" / "two.pdf", "7.00")
    (in_tmp / "docs" / "broken.pdf").write_bytes(whole.read_bytes()[:300])
    (in_tmp / "programs.py").write_text(SLOW)
    return in_tmp / "docs"


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "docflow", *map(str, arguments)]


def docflow(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; no command may ever show a traceback."""
    ran = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120, env=os.environ | environment)
    assert "Traceback" not in ran.stderr + ran.stdout
    return ran


def extract(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return docflow("extract", *arguments, "--runner", "direct", "--program", "receipt", **environment)


def test_a_folder_becomes_a_dataset_that_show_and_query_read(docs: Path) -> None:
    ran = extract("docs")
    assert ran.returncode == 1  # one of the documents is broken
    assert ran.stdout == ""
    assert "broken.pdf: " in ran.stderr
    assert "next  docflow show out" in ran.stderr
    assert max(map(len, ran.stderr.splitlines())) < 200

    again = extract("docs")
    assert again.returncode == 1
    assert "done before" in again.stderr
    assert "--retry-failed" in again.stderr

    (docs / "broken.pdf").unlink()
    clean = extract("docs")
    assert clean.returncode == 0

    shown = docflow("show", "out")
    assert shown.returncode == 0
    assert "one.pdf" in shown.stdout
    answer = docflow("query", "out", "SELECT source, record.total FROM receipt WHERE status = 'valid'", "--json")
    assert sorted(json.loads(line)["total"] for line in answer.stdout.splitlines()) == [7.0, 12.5]
    evidence = docflow("show", "out", "--evidence", "one.pdf")
    assert "12.50" in evidence.stdout


def test_records_go_to_stdout_and_all_else_to_stderr(docs: Path) -> None:
    ran = extract("docs", "--json")
    rows = {row["source"]: row for row in map(json.loads, ran.stdout.splitlines())}
    assert {source: row["status"] for source, row in rows.items()} == {
        "one.pdf": "valid", "two.pdf": "valid", "broken.pdf": "failed",
    }  # fmt: skip
    assert rows["one.pdf"]["record"]["total"] == 12.5
    assert rows["broken.pdf"]["error"]["stage"] == "decode"
    assert "documents" in ran.stderr
    assert Path("out/records").is_dir()


def test_quiet_says_nothing(docs: Path) -> None:
    ran = extract("docs/one.pdf", "--quiet")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_a_reader_that_leaves_loses_no_document(docs: Path) -> None:
    process = subprocess.Popen(
        [*command("extract", "docs", "--program", "receipt", "--json", "--runner", "direct")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1
    assert "Traceback" not in said
    assert "Broken pipe" not in said
    counted = docflow("query", "out", "SELECT count(*) AS n FROM records", "--json")
    assert json.loads(counted.stdout) == {"n": 3}


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_keeps_what_is_done_and_the_next_run_goes_on(docs: Path, sent: signal.Signals) -> None:
    for number in range(8):
        write_pdf(docs / f"more-{number:02}.pdf", f"{number}.25")
    (docs / "broken.pdf").unlink()
    arguments = ("extract", "docs", "--program", "programs.py:slow", "--json", "--runner", "direct", "--concurrency", 1)
    process = subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(sent)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert "Interrupted. What is done is kept in out" in stderr
    done = 1 + len(stdout.splitlines())
    assert 1 <= done < 10
    stored = docflow("query", "out", "SELECT count(*) AS n FROM slow", "--json")
    assert json.loads(stored.stdout) == {"n": done}

    rest = docflow(*arguments)
    assert rest.returncode == 0, rest.stderr
    assert len(rest.stdout.splitlines()) == 10 - done


def test_a_list_on_stdin_is_a_source(docs: Path) -> None:
    ran = subprocess.run(
        command("extract", "-", "--program", "receipt", "--runner", "direct", "--json"),
        input="docs/one.pdf\ndocs/two.pdf\n",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0
    assert len(ran.stdout.splitlines()) == 2


BAD_CALLS: dict[str, tuple[tuple[str, ...], int, str, str]] = {
    "missing source": (("nope.pdf",), 2, "nope.pdf", "name of the source"),
    "empty folder": (("empty",), 2, "no document matched", ""),
    "OUT is a file": (("docs", "--out", "programs.py"), 2, "is a file, not a folder", "--out"),
    "OUT cannot be made": (("docs", "--out", "/proc/none/out"), 2, "cannot be written", ""),
    "unknown program": (("docs", "-p", "recipt"), 2, "no program 'recipt'", "Did you mean 'receipt'?"),
    "no such program in a file": (("docs", "-p", "programs.py:fast"), 2, "has no 'fast'", "slow"),
    "missing program file": (("docs", "-p", "none.py:x"), 2, "no file none.py", ""),
    "module that raises": (("docs", "-p", "raising.py:x"), 2, "raised ZeroDivisionError", ""),
    "schema is no JSON": (("docs", "--schema", "bad.json"), 2, "bad.json is no valid JSON", ""),
    "schema without fields": (("docs", "--schema", "empty.json"), 2, "no fields", "properties"),
    "missing schema": (("docs", "--schema", "none.json"), 2, "none.json cannot be read", ""),
    "program and schema": (("docs", "-p", "receipt", "--schema", "empty.json"), 2, "one of the two", ""),
    "odd name": (("docs", "-p", "receipt", "--name", "../up"), 2, "cannot name a program", "letters"),
    "unknown locale": (("docs", "--locale", "xx_YY"), 2, "no locale 'xx_YY'", "de_CH"),
    "unknown engine": (("docs", "-e", "embeded"), 2, "no engine 'embeded'", "embedded"),
    "bad option": (("docs", "--concurrency", "0"), 2, "--concurrency", ""),
    "no source": ((), 2, "SOURCE", ""),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_a_bad_call_gets_a_message_and_a_hint(docs: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, code, message, hint = BAD_CALLS[case]
    Path("empty").mkdir()
    Path("raising.py").write_text("1 / 0")
    Path("bad.json").write_text('{"type": "object"')
    Path("empty.json").write_text("{}")
    with pytest.raises(SystemExit) as ended:
        main(["extract", *arguments])
    shown = capsys.readouterr()
    assert ended.value.code == code
    assert shown.out == ""
    assert message in shown.err
    assert hint in shown.err
    assert "Traceback" not in shown.err
    assert not Path("out/records").exists() or not list(Path("out/records").rglob("*.parquet"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_out_without_rights_is_told_so(docs: Path) -> None:
    Path("closed").mkdir(mode=0o500)
    ran = extract("docs", "--out", "closed/out")
    assert ran.returncode == 2
    assert "cannot be written" in ran.stderr


def test_a_program_that_raises_fails_its_documents_and_is_named(docs: Path) -> None:
    ran = docflow("extract", "docs/one.pdf", "-p", "programs.py:raises", "--runner", "direct")
    assert ran.returncode == 1
    assert "ValueError: no [bold]luck[/bold]" in ran.stderr


def test_misspelt_settings_are_refused_with_the_nearest_known_one(docs: Path) -> None:
    assert "Did you mean DOCFLOW_ENGINE?" in extract("docs", DOCFLOW_ENGIN="embedded").stderr
    Path("docflow.toml").write_text("[limits]\npixles = 3\n")
    ran = extract("docs")
    assert ran.returncode == 2
    assert "limits.pixles (docflow.toml) is no setting of docflow" in ran.stderr
    assert "Did you mean limits.pixels?" in ran.stderr


def test_a_limit_from_the_environment_is_kept(docs: Path) -> None:
    ran = extract("docs/one.pdf", DOCFLOW_LIMITS__FILE_MB="0.0001")
    assert ran.returncode == 1
    assert "limits.file_mb" in ran.stderr


@pytest.fixture
def terminal(in_tmp: Path) -> Callable[..., str]:
    """Runs a command on a terminal of 80 columns; what it wrote there."""
    import fcntl
    import pty
    import struct
    import termios

    def run(*arguments: object, **environment: str) -> str:
        parent, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        names = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        process = subprocess.Popen(
            command(*arguments),
            stdin=child,
            stdout=child,
            stderr=child,
            env=names | {"TERM": "xterm-256color"} | environment,
        )
        os.close(child)
        written = b""
        while True:
            try:
                piece = os.read(parent, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            written += piece
        process.wait(60)
        os.close(parent)
        return written.decode()

    return run


def test_on_a_terminal_there_is_a_bar_and_colour_unless_it_is_not_wanted(
    docs: Path, terminal: Callable[..., str]
) -> None:
    arguments = ("extract", "docs", "--runner", "direct", "--program", "programs.py:slow", "--out")
    shown = terminal(*arguments, "first")
    assert "━" in shown
    assert "/3" in shown
    assert "\x1b[32mvalid" in shown
    assert "\x1b[?25h" in shown  # the cursor is there again
    plain = terminal(*arguments, "second", NO_COLOR="1")
    assert "valid" in plain
    assert "\x1b[32m" not in plain
    wrong = terminal("show", "nowhere", NO_COLOR="1")
    assert "\x1b" not in wrong
