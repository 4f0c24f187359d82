"""Datasets in buckets: extracted to, read, gone on with, against real servers of the S3 protocol."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import BaseModel
from typer.testing import CliRunner

import docflow
from docflow import buckets
from docflow.buckets import BucketPath
from docflow.cli.app import app
from docflow.engines.scripted import ScriptedEngine
from docflow.errors import StorageError
from docflow.fields.kinds import Money, Party
from docflow.runs import Run, RunOptions, execute
from docflow.runs.ledger import past_runs
from docflow.settings import load_settings
from docflow.storage import Dataset
from docflow.storage.places import arrow_file
from tests.integration.object_stores import S3, StoreProxy, bucket_of
from tests.unit.documents.made import image_bytes


class Ticket(BaseModel):
    company: Party | None = None
    total: Money | None = None


ANSWER = {"company": "ACME", "total": "12.50"}


def run(source: BucketPath, out: BucketPath, engine: ScriptedEngine | None = None, **how: Any) -> Run:
    """Without OCR: what is answered is not looked up."""
    settings = load_settings({"extraction.grounding": "off"})
    engine = engine or ScriptedEngine(default=ANSWER)
    return execute(RunOptions(sources=(str(source),), out=out, program=Ticket, engine=engine, settings=settings, **how))


def fill(folder: BucketPath, count: int) -> None:
    for number in range(count):
        (folder / f"{number:03}.png").write_bytes(image_bytes(Image.new("L", (20 + number, 20)), "PNG"))


def statuses(out: BucketPath) -> dict[str, str]:
    return {row["source"]: row["status"] for row in Dataset(out)}


def test_from_bucket_to_bucket_and_the_second_time_no_object_is_opened(
    server: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StoreProxy(server.url) as proxy:
        bucket = bucket_of(server, monkeypatch, proxy.url)
        fill(bucket / "in", 5)
        first = run(bucket / "in", bucket / "out")
        assert (first.valid, first.exit_code) == (5, 0)
        assert statuses(bucket / "out") == {f"{number:03}.png": "valid" for number in range(5)}
        assert not [one.key for one in (bucket / "out").objects() if ".tmp" in one.key or ".probe" in one.key]
        proxy.requests.clear()
        second = run(bucket / "in", bucket / "out")
        assert (second.skipped, second.valid) == (5, 0)
        assert not [path for path in proxy.opened() if "/in/" in path]
        (bucket / "in" / "001.png").write_bytes(image_bytes(Image.new("L", (99, 20)), "PNG"))
        assert run(bucket / "in", bucket / "out").valid == 1
        assert [one.counts["valid"] for one in past_runs(bucket / "out")] == [5, 0, 1]


def test_a_dataset_in_a_bucket_is_read_like_one_in_a_folder(moto: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = bucket_of(moto, monkeypatch)
    fill(bucket / "in", 3)
    run(bucket / "in", bucket / "out")
    dataset = docflow.open(f"{bucket}/out")
    assert len(dataset) == 3
    assert sorted(dataset.arrow(columns=["source"])["source"].to_pylist()) == ["000.png", "001.png", "002.png"]
    assert dataset.query("SELECT sum(record.total)::DOUBLE AS total FROM records").to_pylist() == [{"total": 37.5}]
    runner = CliRunner()
    for command in (
        ["show", f"{bucket}/out"],
        ["query", f"{bucket}/out", "select source from records"],
        ["runs", f"{bucket}/out"],
    ):
        said = runner.invoke(app, command, env={"COLUMNS": "200"}, catch_exceptions=False)
        assert said.exit_code == 0, said.output


def test_parts_in_a_bucket_can_be_read_by_anybody(moto: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bucket = bucket_of(moto, monkeypatch)
    fill(bucket / "in", 2)
    run(bucket / "in", bucket / "out")
    parts = [one for one in (bucket / "out" / "records").objects() if one.suffix == ".parquet"]
    for number, part in enumerate(parts):
        (tmp_path / f"{number}.parquet").write_bytes(part.read_bytes())
    [(rows,)] = duckdb.sql(f"select count(*) from '{tmp_path}/*.parquet'").fetchall()
    assert rows == 2
    assert pq.read_table(tmp_path / "0.parquet").num_rows == 2


def test_what_failed_is_passed_over_once_it_has_succeeded(moto: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = bucket_of(moto, monkeypatch)
    fill(bucket / "in", 2)
    (bucket / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    (bucket / "in" / "empty.png").write_bytes(b"")
    assert run(bucket / "in", bucket / "out").failed == 2
    assert statuses(bucket / "out")["broken.png"] == "failed"
    again = run(bucket / "in", bucket / "out")
    assert (again.skipped, again.skipped_failed) == (2, 2)
    fine = image_bytes(Image.new("L", (50, 20)), "PNG")
    (bucket / "in" / "empty.png").write_bytes(fine)  # one of the two that stand in the same part
    assert run(bucket / "in", bucket / "out").valid == 1
    assert statuses(bucket / "out") == {
        "000.png": "valid", "001.png": "valid", "broken.png": "failed", "empty.png": "valid"
    }  # fmt: skip
    (bucket / "in" / "broken.png").write_bytes(fine)
    run(bucket / "in", bucket / "out", retry_failed=True)
    assert set(statuses(bucket / "out").values()) == {"valid"}


RUN = """
import sys
import docflow.runs.chunks
docflow.runs.chunks.MOST_DOCUMENTS = 4
from tests.integration.test_object_stores import BucketPath, run
from docflow.engines.scripted import ScriptedEngine
def slowly(request):
    import time; time.sleep(0.1)
    return '{"company": "ACME", "total": "1"}'
run(BucketPath.of(sys.argv[1]), BucketPath.of(sys.argv[2]), ScriptedEngine(default=slowly))
"""


def test_a_run_that_is_killed_leaves_whole_parts_and_is_gone_on_with(
    rclone: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = bucket_of(rclone, monkeypatch)
    fill(bucket / "in", 24)
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", RUN, str(bucket / "in"), str(bucket / "out")])
        deadline = time.monotonic() + 120
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
            if any(one.suffix == ".parquet" for one in (bucket / "out").objects()):
                break
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        for one in (bucket / "out").objects():
            if one.suffix == ".parquet":
                with arrow_file(one) as file:
                    pq.read_table(file)
    run(bucket / "in", bucket / "out")
    assert statuses(bucket / "out") == {f"{number:03}.png": "valid" for number in range(24)}


def test_a_store_that_stutters_changes_nothing(rclone: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    with StoreProxy(rclone.url) as proxy:
        bucket = bucket_of(rclone, monkeypatch, proxy.url)
        fill(bucket / "in", 3)
        for status in (500, 503):
            proxy.spoil(status, times=2, matching="/in/")
            out = bucket / f"out-{status}"
            assert run(bucket / "in", out).valid == 3
            proxy.spoil(status, times=2, matching="/records/")
            assert statuses(out) == {f"{number:03}.png": "valid" for number in range(3)}


def test_an_out_that_cannot_be_written_is_told_before_any_work(rclone: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = bucket_of(rclone, monkeypatch)
    fill(bucket / "in", 1)
    engine = ScriptedEngine(default=ANSWER)
    with pytest.raises(StorageError, match="NoSuchBucket"):
        run(bucket / "in", BucketPath("s3", "no-such-bucket"), engine)
    with pytest.raises(StorageError, match="is an object"):
        run(bucket / "in", bucket / "in" / "000.png", engine)
    assert not engine.requests


SETTLE = """
import sys, threading
import docflow.runs.chunks
docflow.runs.chunks.MOST_DOCUMENTS = 3
from tests.integration.test_object_stores import BucketPath, run
from docflow.engines.scripted import ScriptedEngine
lock, told = threading.Lock(), []
def answer(request):
    with lock:
        if not told:
            told.append(print("at work", flush=True))
            sys.stdin.readline()
    return '{"company": "ACME", "total": "1"}'
run(sys.argv[1], BucketPath.of(sys.argv[2]), ScriptedEngine(default=answer), retry_failed=True)
"""


@pytest.mark.parametrize(("first", "second"), [("in", "in"), ("in/a*.png", "in/b*.png")], ids=["all", "halves"])
def test_two_runs_at_once_that_settle_failed_parts_lose_and_double_nothing(
    first: str, second: str, moto: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docflow.runs.chunks.MOST_DOCUMENTS", 5)  # so that one part has documents of both halves
    bucket = bucket_of(moto, monkeypatch)
    names = [f"{half}{number}.png" for half in "ab" for number in range(6)]
    still_broken = {"a5.png", "b0.png"}
    for name in names:
        (bucket / "in" / name).write_bytes(b"\x89PNG\r\n\x1a\nno picture" + name.encode())
    assert run(bucket / "in", bucket / "out").failed == 12
    failed = [one for one in (bucket / "out").objects() if one.name.startswith("failed-")]
    assert len(failed) >= 3
    for number, name in enumerate(names):
        if name not in still_broken:
            (bucket / "in" / name).write_bytes(image_bytes(Image.new("L", (20 + number, 20)), "PNG"))
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", SETTLE, f"{bucket}/{source}", f"{bucket}/out"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for source in (first, second)
    ]
    for one in runs:
        assert one.stdout is not None
        assert one.stdout.readline() == "at work\n"  # it knows what is there: both find the same failed parts
    for one in runs:
        one.communicate("go on\n", timeout=240)
        assert one.returncode == 0
    expected = {name: "failed" if name in still_broken else "valid" for name in names}
    assert sorted(row["source"] for row in Dataset(bucket / "out")) == names
    assert statuses(bucket / "out") == expected
    last = run(bucket / "in", bucket / "out", retry_failed=True)
    assert (last.skipped, last.failed) == (10, 2)
    assert statuses(bucket / "out") == expected


@pytest.mark.parametrize("hung", ["/in/001.png", "/part-"], ids=["an object that is read", "a part that is put"])
def test_a_run_over_a_store_that_hangs_ends_soon_after_sigterm(
    hung: str, rclone: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with StoreProxy(rclone.url) as proxy:
        bucket = bucket_of(rclone, monkeypatch, proxy.url)
        fill(bucket / "in", 3)
        replies = tmp_path / "replies.jsonl"
        replies.write_text(json.dumps(ANSWER))
        proxy.silent = hung
        arguments = ["extract", f"{bucket}/in", "--out", f"{bucket}/out", "--program", "receipt", "--grounding", "off"]
        child = subprocess.Popen(
            [sys.executable, "-m", "docflow", *arguments, "--engine", f"scripted={replies}", "--runner", "direct"],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            deadline = time.monotonic() + 120
            while not proxy.unanswered and time.monotonic() < deadline:
                time.sleep(0.05)
            assert proxy.unanswered
            child.send_signal(signal.SIGTERM)
            _, said = child.communicate(timeout=50)  # a request alone is waited for longer, where nobody is in a hurry
        finally:
            child.kill()
            child.wait()
        assert child.returncode > 0, said  # it ended by itself
        assert "Traceback" not in said


def test_truth_and_reports_may_be_in_a_bucket_and_exports_may_not(
    rclone: S3, monkeypatch: pytest.MonkeyPatch, in_tmp: Path
) -> None:
    bucket = bucket_of(rclone, monkeypatch)
    fill(bucket / "in", 2)
    run(bucket / "in", bucket / "out")
    (bucket / "truth" / "000.json").write_bytes(b'{"company": "ACME", "total": "12.50"}')
    (bucket / "truth" / "below" / ".left-out.json").write_bytes(b"no JSON")
    scored = command("eval", f"{bucket}/out", f"{bucket}/truth", "--report", f"{bucket}/report")
    assert (scored.returncode, "1 documents with truth" in scored.stdout) == (0, True), scored
    compare = ("--compare", f"{bucket}/report", "--fail-if-worse")
    assert command("eval", f"{bucket}/out", f"{bucket}/truth", *compare).returncode == 0
    page = command("report", f"{bucket}/out", "--html", f"{bucket}/report.html")
    assert page.returncode == 0, page.stderr
    assert (bucket / "report.html").read_bytes().startswith(b"<!doctype html>")
    exported = command("export", f"{bucket}/out", "--csv", "tickets.csv")
    assert (exported.returncode, len(Path("tickets.csv").read_text().splitlines())) == (0, 3), exported.stderr
    refused = command("export", f"{bucket}/out", "--csv", f"{bucket}/tickets.csv")
    assert (refused.returncode, "can only be one of this machine" in refused.stderr) == (2, True), refused.stderr
    nothing = command("eval", f"{bucket}/out", f"{bucket}/no-truth")
    assert (nothing.returncode, "is no folder" in nothing.stderr) == (2, True), nothing.stderr
    assert not (in_tmp / "s3:").exists()


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "docflow", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_line_takes_uris_and_names_what_is_wrong_without_a_traceback(
    rclone: S3, monkeypatch: pytest.MonkeyPatch, in_tmp: Path
) -> None:
    bucket = bucket_of(rclone, monkeypatch)
    fill(bucket / "in", 2)
    done = command("extract", f"{bucket}/in", "--out", f"{bucket}/out", "--grounding", "off", "--json")
    assert done.returncode in (0, 1), done.stderr
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 2
    assert not (in_tmp / "s3:").exists()
    wrong = command("extract", f"{bucket}/in", "--out", "out", AWS_SECRET_ACCESS_KEY="wrong-secret")
    assert (wrong.returncode, "SignatureDoesNotMatch" in wrong.stderr) == (1, True), wrong.stderr
    away = command("extract", f"{bucket}/in", "--out", "out", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert (away.returncode, "does not answer" in away.stderr) == (1, True), away.stderr
    missing = command("extract", "s3://no-such-bucket/in", "--out", "out")
    assert (missing.returncode, "no such bucket" in missing.stderr) == (2, True), missing.stderr
    for nothing in (f"{bucket}/nothing", "s3://no-such-bucket/out"):
        nowhere = command("show", nothing)
        assert (nowhere.returncode, "holds no dataset" in nowhere.stderr) == (2, True), nowhere.stderr
    refused = command("show", "s3://key:s3cret@bucket/out")
    assert refused.returncode == 2
    for said in (wrong, away, missing, nowhere, refused):
        assert "Traceback" not in said.stderr
        assert "wrong-secret" not in said.stderr
        assert "s3cret" not in said.stderr


@pytest.fixture(autouse=True)
def _no_clients_of_other_tests() -> None:
    buckets.forget_clients()
