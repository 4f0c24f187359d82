"""Places on a disk: whole files, files that are created once, and the names that lead to them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from docflow.buckets import BucketPath
from docflow.errors import StorageError, UsageError
from docflow.storage import places


def test_of_two_writers_one_creates_the_file(tmp_path: Path) -> None:
    place = tmp_path / "snapshots" / "1.json"
    assert places.create(place, b"first")
    assert not places.create(place, b"second")
    assert place.read_bytes() == b"first"
    assert [path.name for path in place.parent.iterdir()] == ["1.json"]
    assert place.stat().st_mode & 0o077 == 0


RACER = """
import sys
from pathlib import Path
from docflow.storage import places
folder, me = Path(sys.argv[1]), sys.argv[2]
for number in range(200):
    if places.create(folder / f"{number}", me.encode() * 1000):
        print(number)
"""


def test_processes_that_create_the_same_files_each_win_different_ones(tmp_path: Path) -> None:
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, str(tmp_path), who], stdout=subprocess.PIPE, text=True)
        for who in ("a", "b")
    ]
    won = [racer.communicate()[0].split() for racer in racers]
    assert sorted(won[0] + won[1], key=int) == [str(number) for number in range(200)]
    for who, numbers in zip(("a", "b"), won, strict=True):
        assert all((tmp_path / number).read_text() == who * 1000 for number in numbers)


def test_a_file_that_cannot_be_created_is_an_error_and_not_a_lost_race(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        places.create(tmp_path / "file" / "1.json", b"")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("out", "out"),
        ("/a/out", "/a/out"),
        ("file:///a/b%20c", "/a/b c"),
        ("file://localhost/a", "/a"),
        ("FILE:///a%FF", "/a\udcff"),
    ],
)
def test_a_local_place_is_a_path(text: str, path: str) -> None:
    assert places.place_of(text) == Path(path)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("s3://bucket", BucketPath("s3", "bucket")),
        ("s3://bucket/", BucketPath("s3", "bucket")),
        ("s3://bucket/a/b c/ü.pdf", BucketPath("s3", "bucket", "a/b c/ü.pdf")),
        ("gcs://bucket/a/", BucketPath("gs", "bucket", "a")),
        ("azure://container/a", BucketPath("az", "container", "a")),
    ],
)
def test_a_remote_place_is_a_bucket_and_a_key(uri: str, path: BucketPath) -> None:
    assert places.place_of(uri) == path
    assert places.place_of(str(path)) == path


@pytest.mark.parametrize(
    "uri", ["http://host/a", "ftp://host/a", "s3://", "s3:///key", "s3://b/a//b", "s3://b/../c", "file://other/a"]
)
def test_what_is_no_place_is_refused(uri: str) -> None:
    with pytest.raises(UsageError):
        places.place_of(uri)


def test_a_uri_with_credentials_is_refused_without_showing_them() -> None:
    with pytest.raises(UsageError) as failure:
        places.place_of("s3://AKIA:s3cret@bucket/key?X-Amz-Signature=s1gned")
    assert "s3cret" not in failure.value.message
    assert "s1gned" not in failure.value.message
    assert "environment" in failure.value.hint


def test_a_bucket_path_has_the_names_of_a_path() -> None:
    path = BucketPath.of("s3://bucket/out") / "records" / "program=a" / "part-1.parquet"
    assert str(path) == "s3://bucket/out/records/program=a/part-1.parquet"
    assert (path.name, path.stem, path.suffix) == ("part-1.parquet", "part-1", ".parquet")
    assert path.parent.name == "program=a"
    assert path.with_name("x").parent == path.parent
    assert BucketPath("s3", "bucket").parent == BucketPath("s3", "bucket")


def test_the_extra_that_a_bucket_needs_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="extra") as failure:
        places.place_of("s3://bucket/key")
    assert "docflow[cloud]" in failure.value.hint
