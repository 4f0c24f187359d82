"""Documents in buckets: which objects are taken, what they go by, and what a store that fails does to them."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from PIL import Image

from docflow import buckets
from docflow.buckets import BucketPath
from docflow.documents.content import read_content
from docflow.documents.sources import find
from docflow.errors import LimitExceeded, NothingToDo, SourceUnreadable
from docflow.settings import DecodeLimits
from tests.integration.object_stores import S3, StoreProxy, bucket_of
from tests.unit.documents.made import image_bytes

PNG = image_bytes(Image.new("L", (20, 20)), "PNG")
LIMITS = DecodeLimits()


def fill(folder: BucketPath, *names: str, data: bytes = PNG) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: (folder / name).write_bytes(data), names))


def names(*sources: str, stdin: io.BytesIO | None = None) -> list[str]:
    return [item.source for item in find(list(sources), stdin=stdin)]


def test_a_prefix_gives_its_documents_in_the_order_of_their_keys_and_relative_to_it(
    server: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = bucket_of(server, monkeypatch)
    fill(bucket, "in/b.png", "in/a.PDF", "in/sub/z.jpg", "in/sub/ü 1%41.png", "other/c.png", "in-2/d.png")
    fill(bucket, "in/notes.txt", "in/scan", "in/.hidden.png", "in/.cache/e.png", "in/empty")
    fill(bucket, "in/list", data=b"no document")
    found = find(f"{bucket}/in")
    assert [item.source for item in found] == ["a.PDF", "b.png", "empty", "scan", "sub/z.jpg", "sub/ü 1%2541.png"]
    assert names(f"{bucket}/in/") == names(f"{bucket}/in")
    assert found.skipped == 2


def test_an_object_goes_by_its_name_and_knows_its_size_and_its_stamp(
    server: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = bucket_of(server, monkeypatch)
    fill(bucket, "in/a.txt")  # taken whatever its name: it was named
    [item] = find(f"{bucket}/in/a.txt")
    assert (item.source, item.size) == ("a.txt", len(PNG))
    assert read_content(item, LIMITS) == PNG
    [again] = find(f"{bucket}/in/a.txt")
    assert again.stamp == item.stamp
    fill(bucket, "in/a.txt", data=PNG[::-1])
    [changed] = find(f"{bucket}/in/a.txt")
    assert changed.stamp != item.stamp


def test_several_sources_name_objects_by_their_uris(server: S3, monkeypatch: pytest.MonkeyPatch, in_tmp: Path) -> None:
    bucket = bucket_of(server, monkeypatch)
    fill(bucket, "x/a.png", "y/a.png")
    (in_tmp / "a.png").write_bytes(PNG)
    expected = [f"{bucket}/x/a.png", f"{bucket}/y/a.png", "a.png"]
    assert names(f"{bucket}/x", f"{bucket}/y/a.png", "a.png") == expected
    lines = io.BytesIO(f"{bucket}/x/\n{bucket}/y/a.png\na.png\n{bucket}/missing.png\n".encode())
    found = list(find("-", stdin=lines))
    assert [item.source for item in found] == [*expected, f"{bucket}/missing.png"]
    assert [item.error is None for item in found] == [True, True, True, False]


def test_a_glob_chooses_among_the_objects(rclone: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = bucket_of(rclone, monkeypatch)
    fill(bucket, "in/2024/a.png", "in/2024/b.jpg", "in/2025/c.png", "in/2025/deep/d.png", "in/e.png")
    assert names(f"{bucket}/in/*/*.png") == ["2024/a.png", "2025/c.png"]
    assert names(f"{bucket}/in/**/*.png") == ["2024/a.png", "2025/c.png", "2025/deep/d.png", "e.png"]
    assert names(f"{bucket}/in/2025") == ["c.png", "deep/d.png"]


def test_a_listing_of_many_pages_is_read_page_by_page_and_no_object_is_opened(
    moto: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StoreProxy(moto.url) as proxy:
        bucket = bucket_of(moto, monkeypatch, proxy.url)
        keys = [f"{number:05}.png" for number in range(2_300)]
        fill(bucket, *keys, data=b"x")
        before = len(proxy.requests)
        found = find(str(bucket))
        next(found)
        assert len([one for one in proxy.requests[before:] if "list-type" in one.path]) < 5  # not all pages yet
        assert [item.source for item in found] == keys[1:]
        assert len([one for one in proxy.requests[before:] if "continuation-token" in one.path]) >= 2
        assert not proxy.opened()


def test_a_listing_that_breaks_off_keeps_what_was_found(moto: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    with StoreProxy(moto.url) as proxy:
        bucket = bucket_of(moto, monkeypatch, proxy.url)
        fill(bucket, *(f"{number:05}.png" for number in range(1_500)), data=b"x")
        proxy.spoil(403, matching="continuation-token")
        found = list(find(str(bucket)))
        assert len(found) == 1_001
        assert found[-1].error is not None
        assert "403" in found[-1].error.message or "Spoiled" in found[-1].error.message


def test_a_key_that_no_path_can_name_is_told(moto: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = bucket_of(moto, monkeypatch)
    fill(bucket, "a.png")
    boto3.client("s3", endpoint_url=moto.url).put_object(Bucket=bucket.bucket, Key="b//c.png", Body=PNG)
    *_, last = find(str(bucket))
    assert last.error is not None
    assert "b//c.png" in last.error.message


def test_an_object_that_is_too_large_is_not_read(rclone: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    with StoreProxy(rclone.url) as proxy:
        bucket = bucket_of(rclone, monkeypatch, proxy.url)
        fill(bucket, "a.png", data=bytes(200_000))
        limits = DecodeLimits(file_mb=0.1)
        [item] = find(str(bucket))
        with pytest.raises(LimitExceeded):
            read_content(item, limits)
        assert not proxy.opened()
        fill(bucket, "b.png", data=b"small")
        grown = next(item for item in find(str(bucket)) if item.source == "b.png")
        fill(bucket, "b.png", data=bytes(200_000))  # since it was listed
        with pytest.raises(LimitExceeded):
            read_content(grown, limits)


def test_an_object_that_is_gone_or_refused_is_one_failed_document(rclone: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    with StoreProxy(rclone.url) as proxy:
        bucket = bucket_of(rclone, monkeypatch, proxy.url)
        fill(bucket, "a.png", "b.png")
        gone, refused = find(str(bucket))
        (bucket / "a.png").unlink()
        with pytest.raises(SourceUnreadable, match="NoSuchKey"):
            read_content(gone, LIMITS)
        proxy.spoil(403, matching="b.png")
        with pytest.raises(SourceUnreadable, match="refuses access") as failure:
            read_content(refused, LIMITS)
        assert "credentials" in failure.value.hint


def test_what_is_wrong_with_the_place_itself_is_said_at_once(rclone: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = bucket_of(rclone, monkeypatch)
    fill(bucket, "in/a.png")
    with pytest.raises(NothingToDo, match="none below it"):
        find(f"{bucket}/out")
    with pytest.raises(NothingToDo, match="no such bucket"):
        find("s3://no-such-bucket-here/in")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    buckets.forget_clients()
    with pytest.raises(SourceUnreadable, match="SignatureDoesNotMatch"):
        find(f"{bucket}/in")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    buckets.forget_clients()
    with pytest.raises(SourceUnreadable, match="does not answer"):
        find(f"{bucket}/in")
