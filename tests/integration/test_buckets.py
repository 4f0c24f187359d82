"""Places in a bucket, against real servers of the S3 protocol."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from docflow import buckets
from docflow.buckets import BucketPath
from docflow.errors import StorageError
from docflow.storage import places
from tests.integration import object_stores
from tests.integration.object_stores import S3, StoreProxy, bucket_of


def test_what_was_put_can_be_read_listed_and_removed(server: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = bucket_of(server, monkeypatch)
    for name in ("a/1.json", "a/b/2.json", "a b/ü%41+.json", "x=1%2F2/3.json"):
        places.write_whole(bucket / "out" / name, name.encode())
        assert places.read(bucket / "out" / name) == name.encode()
    found = list((bucket / "out").objects())
    assert [str(one).removeprefix(f"{bucket}/out/") for one in found] == [
        "a b/ü%41+.json",
        "a/1.json",
        "a/b/2.json",
        "x=1%2F2/3.json",
    ]
    assert [one.size for one in found] == [len(one.read_bytes()) for one in found]
    assert sorted(one.name for one in (bucket / "out" / "a").iterdir()) == ["1.json", "b"]
    assert [one.name for one in (bucket / "out" / "a").glob("*.json")] == ["1.json"]
    assert (bucket / "out" / "a").is_dir()
    assert not (bucket / "out" / "a").is_file()
    assert (bucket / "out" / "a" / "1.json").is_file()
    assert not (bucket / "out" / "c").exists()
    places.remove(bucket / "out" / "a" / "1.json")
    places.remove(bucket / "out" / "a" / "1.json")
    assert not (bucket / "out" / "a" / "1.json").exists()
    with pytest.raises(FileNotFoundError):
        places.read(bucket / "out" / "a" / "1.json")


def test_an_object_that_changes_gets_another_stamp(server: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bucket_of(server, monkeypatch) / "a"
    places.write_whole(path, b"one")
    before = path.stat()
    places.write_whole(path, b"two")
    after = path.stat()
    assert before.etag != after.etag
    assert (before.size, after.size) == (3, 3)


def test_of_two_writers_one_creates_the_object(moto: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    place = bucket_of(moto, monkeypatch) / "snapshots" / "1.json"
    assert places.create(place, b"first")
    assert not places.create(place, b"second")
    assert places.read(place) == b"first"
    assert [one.name for one in place.parent.objects()] == ["1.json"]  # and nothing of the trial


RACER = """
import sys
from docflow.storage import places
folder, me = places.place_of(sys.argv[1]), sys.argv[2]
for number in range(20):
    if places.create(folder / f"{number:02}", me.encode()):
        print(number)
"""


def test_processes_that_create_the_same_objects_each_win_different_ones(
    moto: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bucket_of(moto, monkeypatch) / "race"
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, str(folder), who], stdout=subprocess.PIPE, text=True)
        for who in ("a", "b")
    ]
    won = [racer.communicate()[0].split() for racer in racers]
    assert sorted(map(int, won[0] + won[1])) == list(range(20))
    for who, numbers in zip(("a", "b"), won, strict=True):
        assert all(places.read(folder / f"{int(number):02}") == who.encode() for number in numbers)


def test_a_store_that_overwrites_what_is_to_be_created_is_refused(rclone: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    place = bucket_of(rclone, monkeypatch) / "snapshots" / "1.json"
    with pytest.raises(StorageError, match="overwrites"):
        places.create(place, b"first")
    assert not place.exists()


def test_an_object_was_created_although_the_answer_got_lost(moto: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    with StoreProxy(moto.url) as proxy:
        folder = bucket_of(moto, monkeypatch, proxy.url)
        assert places.create(folder / "0.json", b"")  # the store is tried here, not below
        proxy.lose = 1
        assert places.create(folder / "1.json", b"mine")
        assert proxy.lose == 0
        assert places.read(folder / "1.json") == b"mine"


@pytest.mark.parametrize("size", [1_000, 200_000])
def test_arrow_reads_parts_in_a_bucket(server: S3, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(places, "_WHOLE_BYTES", 100_000)  # a large part is read piece by piece
    folder = bucket_of(server, monkeypatch) / "records"
    table = pa.table({"a": pa.array(range(size)), "b": [f"{number:x}" for number in range(size)]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=50_000)
    for name in ("1.parquet", "2.parquet"):
        places.write_whole(folder / name, sink.getvalue())
    parts = sorted(folder.glob("*.parquet"))
    assert (parts[0].size > 100_000) == (size == 200_000)
    with places.arrow_file(parts[0]) as file:
        assert pq.read_table(file) == table
    schema = table.schema.append(pa.field("new", pa.string()))
    both = places.arrow_dataset(parts, schema)
    assert both.count_rows() == 2 * size
    assert both.to_table(columns=["b", "new"]) == pa.table(
        {"b": table["b"].to_pylist() * 2, "new": pa.nulls(2 * size, pa.string())}
    )


def test_an_error_of_the_server_is_tried_again(rclone: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    with StoreProxy(rclone.url) as proxy:
        bucket = bucket_of(rclone, monkeypatch, proxy.url)
        for status in (500, 503):
            proxy.spoil(status, times=2)
            places.write_whole(bucket / f"{status}", b"content")
            assert proxy.left == 0
        assert [one.name for one in bucket.objects()] == ["500", "503"]


def test_wrong_credentials_are_named_without_being_shown(rclone: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    place = bucket_of(rclone, monkeypatch) / "a"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-secret")
    buckets.forget_clients()
    with pytest.raises(StorageError, match="refuses access") as failure:
        places.write_whole(place, b"")
    assert "credentials" in failure.value.hint
    assert "SignatureDoesNotMatch" in failure.value.message
    assert "another-secret" not in failure.value.message


def test_a_bucket_that_is_not_there_is_named(server: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket_of(server, monkeypatch)
    with pytest.raises(StorageError, match=r"s3://no-such-bucket.*NoSuchBucket") as failure:
        places.write_whole(BucketPath("s3", "no-such-bucket", "a"), b"")
    assert "name of the bucket" in failure.value.hint
    assert not failure.value.retryable


def test_credentials_may_come_from_the_profile_of_the_aws_tools(
    rclone: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket = bucket_of(rclone, monkeypatch)
    (tmp_path / "credentials").write_text(
        f"[team]\naws_access_key_id = {object_stores.KEY_ID}\naws_secret_access_key = {object_stores.SECRET}\n"
    )
    (tmp_path / "config").write_text(f"[profile team]\nregion = us-east-1\nendpoint_url = {rclone.url}\n")
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_PROFILE", "team")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    places.write_whole(bucket / "a", b"content")
    assert places.read(bucket / "a") == b"content"
