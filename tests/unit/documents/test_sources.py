from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from docflow.documents.sources import encoded, find, from_bytes, from_file, from_image
from docflow.errors import NothingToDo, SourceUnreadable, UsageError
from tests.unit.documents.made import image_bytes

PNG = image_bytes(Image.new("L", (20, 20)), "PNG")


def fill(folder: Path, *names: str, data: bytes = PNG) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def names(*sources: str | Path, base: Path | None = None, stdin: io.BytesIO | None = None) -> list[str]:
    return [item.source for item in find(list(sources), base=base, stdin=stdin)]


def test_a_folder_gives_its_documents_sorted_and_relative_to_it(tmp_path: Path) -> None:
    fill(tmp_path, "b.png", "a.PDF", "sub/z.jpg", "sub/deep/y.tiff", "another/x.webp")
    assert names(tmp_path) == ["a.PDF", "b.png", "another/x.webp", "sub/z.jpg", "sub/deep/y.tiff"]


def test_a_single_file_goes_by_its_name_and_knows_its_size(tmp_path: Path) -> None:
    fill(tmp_path, "sub/a.png")
    (item,) = find(tmp_path / "sub" / "a.png")
    assert (item.source, item.path, item.size) == ("a.png", tmp_path / "sub" / "a.png", len(PNG))


def test_files_of_one_name_in_several_sources_can_be_told_apart(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    fill(tmp_path, "a/x.png", "a/sub/x.png", "b/x.png", "c/x.png", "x.png")
    fill(elsewhere, "x.png")
    given = ["a", "./b/", tmp_path / "c" / "x.png", "c/../c/*.png", elsewhere, elsewhere / "x.png"]
    outside = elsewhere.as_uri()
    assert names(*given, base=tmp_path) == [
        "a/x.png", "a/sub/x.png", "b/x.png", "c/x.png", "c/x.png", f"{outside}/x.png", f"{outside}/x.png",
    ]  # fmt: skip
    assert names(".", "b", base=tmp_path)[:3] == ["x.png", "a/x.png", "a/sub/x.png"]
    for alone in ("a/sub", tmp_path / "b", "c/*.png", tmp_path / "a" / "x.png"):
        assert names(alone, base=tmp_path) == ["x.png"]


def test_a_folder_passes_over_what_is_no_document_and_counts_it(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "scan-without-suffix", "odd.dat")
    fill(tmp_path, "truth.json", "readme", "notes.xyz", data=b"just text")
    fill(tmp_path, ".hidden.png", ".git/in-a-hidden-folder.png")
    found = find(tmp_path)
    assert [item.source for item in found] == ["a.png", "odd.dat", "scan-without-suffix"]
    assert found.skipped == 3


def test_a_broken_file_with_the_suffix_of_a_document_is_taken(tmp_path: Path) -> None:
    fill(tmp_path, "empty.pdf", data=b"")
    fill(tmp_path, "text.jpg", data=b"text")
    assert names(tmp_path) == ["empty.pdf", "text.jpg"]


def test_a_named_file_is_taken_whatever_it_holds(tmp_path: Path) -> None:
    fill(tmp_path, "notes.txt", data=b"text")
    assert names(tmp_path / "notes.txt") == ["notes.txt"]


def test_only_files_of_unknown_suffix_are_opened_while_searching(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "b.json", "c.dat")
    script = (
        "import sys; opened = []\n"
        "sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == 'open' else None)\n"
        "from docflow.documents.sources import find; from PIL import Image\n"
        f"found = find({str(tmp_path)!r}); opened.clear()\n"
        "list(found); print([name[-5:] for name in opened if name.endswith(('png', 'json', 'dat'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['c.dat']"


def test_links_to_folders_are_not_followed_and_links_to_files_are(tmp_path: Path) -> None:
    fill(tmp_path, "docs/a.png", "outside/secret.png")
    (tmp_path / "docs" / "loop").symlink_to(tmp_path / "docs")
    (tmp_path / "docs" / "up").symlink_to(tmp_path)
    (tmp_path / "docs" / "b.png").symlink_to(tmp_path / "outside" / "secret.png")
    found = find(tmp_path / "docs")
    assert [item.source for item in found] == ["a.png", "b.png"]
    assert found.skipped == 2


def test_a_link_to_nowhere_becomes_an_item_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "gone.pdf").symlink_to(tmp_path / "missing.pdf")
    (item,) = find(tmp_path)
    assert isinstance(item.error, SourceUnreadable)


def test_pipes_and_sockets_in_a_folder_are_passed_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pdf")
    fill(tmp_path, "a.png")
    assert names(tmp_path) == ["a.png"]


def test_the_first_document_comes_before_other_folders_are_read(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "later/b.png")
    found = find(tmp_path)
    assert next(found).source == "a.png"
    fill(tmp_path, "later/c.png")
    assert [item.source for item in found] == ["later/b.png", "later/c.png"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("docs/*.png", ["a.png", "b.png"]),
        ("docs/?.png", ["a.png", "b.png"]),
        ("docs/[!b].png", ["a.png"]),
        ("docs/[ab].*", ["a.png", "b.png"]),
        ("docs/**/*.jpg", ["sub/c.jpg", "sub/deep/d.jpg"]),
        ("docs/**", ["a.png", "b.png", "sub/c.jpg", "sub/deep/d.jpg"]),
        ("docs/s*", ["sub/c.jpg", "sub/deep/d.jpg"]),
        ("*/a.png", ["docs/a.png"]),
        ("docs/*/deep", ["sub/deep/d.jpg"]),
        ("docs/*.gif", []),
    ],
)
def test_globs(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    fill(tmp_path, "docs/a.png", "docs/b.png", "docs/sub/c.jpg", "docs/sub/deep/d.jpg", "docs/.hidden/e.jpg")
    assert names(pattern, base=tmp_path) == expected


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    fill(tmp_path, "scan[1].png", "scan1.png")
    assert names("scan[1].png", base=tmp_path) == ["scan[1].png"]


@settings(deadline=None)  # the machine may be busy
@given(st.text(st.sampled_from("ab[]!^-\\*?{}()|&~+$"), min_size=1, max_size=8))
def test_any_text_is_a_glob_or_a_usage_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "globbed"
    fill(folder, "a", "b", "ab")
    with contextlib.suppress(UsageError):
        assert set(names(text, base=folder)) <= {"a", "b", "ab"}


def test_a_list_on_stdin_names_files_and_folders_a_line_each(tmp_path: Path) -> None:
    fill(tmp_path, "in/a.png", "in/more/b.png", "c.jpg", "other/d.png")
    base = tmp_path / "in"
    lines = f"a.png\n\nmore\r\n{tmp_path}/other/d.png\nmissing.pdf\n".encode()
    items = list(find("-", stdin=io.BytesIO(lines), base=base))
    uri = f"file://{tmp_path}/other/d.png"
    assert [item.source for item in items] == ["a.png", "more/b.png", uri, "missing.pdf"]
    assert [type(item.error) for item in items] == [type(None)] * 3 + [SourceUnreadable]


def test_a_list_is_read_line_by_line(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")

    class Endless(io.RawIOBase):
        def __iter__(self) -> Endless:
            return self

        def __next__(self) -> bytes:
            return b"a.png\n"

    found = find("-", stdin=Endless(), base=tmp_path)  # type: ignore[arg-type]
    assert [next(found).source for _ in range(3)] == ["a.png"] * 3


@pytest.mark.parametrize("source", ["missing.pdf", "missing/", "no/such/*.pdf"])
def test_a_source_that_does_not_exist_is_nothing_to_do(tmp_path: Path, source: str) -> None:
    with pytest.raises(NothingToDo, match=re.escape(source)):
        find(source, base=tmp_path)


@pytest.mark.parametrize("source", ["", "a\0b", "http://host/a.pdf", "s3://", "s3://key:secret@bucket/a.pdf", []])
def test_what_cannot_be_a_source_is_a_usage_error(tmp_path: Path, source: str) -> None:
    with pytest.raises(UsageError):
        find(source, base=tmp_path)


def test_a_file_uri_names_a_file_of_this_machine(tmp_path: Path) -> None:
    fill(tmp_path, "a b.png", "docs/c.png")
    assert names((tmp_path / "a b.png").as_uri(), base=tmp_path) == ["a b.png"]
    assert names((tmp_path / "docs").as_uri(), base=tmp_path) == ["c.png"]
    lines = io.BytesIO(f"{(tmp_path / 'docs').as_uri()}\nhttp://host/a.png\n".encode())
    found = list(find("-", base=tmp_path, stdin=lines))
    assert [item.source for item in found] == ["docs/c.png", "http://host/a.png"]
    assert found[1].error is not None


def test_an_unreadable_folder_is_reported_and_its_neighbours_are_read(tmp_path: Path) -> None:
    fill(tmp_path, "docs/a.png", "docs/locked/b.png", "docs/open/c.png")
    (tmp_path / "docs" / "locked").chmod(0)
    script = (
        "import os, sys\n"
        "from docflow.documents.sources import find\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        "for item in find(sys.argv[1]): print(item.source, type(item.error).__name__)"
    )
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o755)
    try:
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "docs")], capture_output=True, text=True, check=True
        )
    finally:
        (tmp_path / "docs" / "locked").chmod(0o755)
    assert done.stdout.splitlines() == ["a.png NoneType", "locked/ SourceUnreadable", "open/c.png NoneType"]


# --- names


def test_names_that_are_not_utf8_are_percent_encoded(tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9 100%\n.png")
    with open(path, "wb") as file:
        file.write(PNG)
    (item,) = find(tmp_path)
    assert item.source == "caf%E9 100%%0A.png"
    assert item.path is not None
    assert item.path.read_bytes() == PNG


def test_names_in_any_script_stay_as_they_are() -> None:
    assert encoded("영수증 – Überweisung 100%.pdf") == "영수증 – Überweisung 100%.pdf"


file_name = st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name and b"/" not in name)


@settings(deadline=None)  # the machine may be busy
@given(file_name, file_name)
def test_different_names_never_become_one(one: bytes, other: bytes) -> None:
    assume(one != other)
    assert encoded(os.fsdecode(one)) != encoded(os.fsdecode(other))


@settings(deadline=None)  # the machine may be busy
@given(file_name)
def test_the_bytes_of_a_name_can_be_had_back(name: bytes) -> None:
    text = encoded(os.fsdecode(name))
    assert text.isprintable() or not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", text)
    assert unquote_to_bytes(text) == name


# --- in memory


def test_bytes_without_a_name_go_by_their_hash() -> None:
    item = from_bytes(PNG)
    assert re.fullmatch(r"memory:[0-9a-f]{16}", item.source)
    assert from_bytes(bytearray(PNG)).source == item.source


def test_a_file_object_goes_by_its_name_and_a_text_file_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    with (tmp_path / "a.png").open("rb") as file:
        assert from_file(file).source == "a.png"
    assert from_file(io.BytesIO(PNG), name="upload.png").source == "upload.png"
    with pytest.raises(UsageError, match="text"):
        from_file(io.StringIO("x"))  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F", "I"])
def test_an_image_of_any_mode_becomes_a_document(mode: str) -> None:
    item = from_image(Image.new(mode, (30, 20)))
    assert item.data is not None
    with Image.open(io.BytesIO(item.data)) as again:
        assert again.size == (30, 20)


def test_an_image_with_an_orientation_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(io.BytesIO(image_bytes(Image.new("RGB", (40, 20)), "JPEG", exif=exif))) as image:
        item = from_image(image)
    assert item.data is not None
    with Image.open(io.BytesIO(item.data)) as again:
        assert again.size == (20, 40)
