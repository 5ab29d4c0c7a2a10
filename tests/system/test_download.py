"""Fetching large files, from a server on this machine that fails in every way that servers do."""

import errno
import hashlib
import io
import json
import os
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import pytest

from pointmae_zoo.system import download as module
from pointmae_zoo.system.download import DownloadError, download
from samples.server import CONTENT, Server, status

PIECE = module._PIECE
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def hang_up(handler: BaseHTTPRequestHandler) -> bool:
    handler.close_connection = True
    handler.connection.close()
    return True


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it would have waited."""
    waited: list[float] = []
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=waited.append))
    return waited


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.zip"


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


def test_a_file_arrives_whole(server: Server, path: Path) -> None:
    download([server.url], path, size=len(CONTENT), sha256=SHA256, progress=False)
    assert path.read_bytes() == CONTENT
    assert names(path) == ["file.zip"] and server.ranges == [None]
    download([server.url], path, size=len(CONTENT), sha256=SHA256, progress=False)
    assert len(server.ranges) == 1  # it is there


def test_cut_connections_are_gone_on_with(server: Server, path: Path, pauses: list[float]) -> None:
    server.faults = [server.cut_after(3 * PIECE), hang_up, server.cut_after(2 * PIECE), status(503)]
    download([server.url], path, sha256=SHA256, progress=False)
    assert path.read_bytes() == CONTENT
    there = [3 * PIECE, 3 * PIECE, 5 * PIECE, 5 * PIECE]
    assert server.ranges == [None, *(f"bytes={count}-" for count in there)]
    assert pauses == [1, 2, 1, 2]


def test_interrupted_and_started_again(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    server.faults = [server.cut_after(4 * PIECE)]
    with monkeypatch.context() as patch:
        patch.setattr(module.time, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            download([server.url], path, progress=False)
    assert names(path) == ["file.zip.part", "file.zip.part.json"]
    download([server.url], path, progress=False)  # no hash known: the tag alone says that it is the same file
    assert path.read_bytes() == CONTENT and server.ranges[-1] == f"bytes={4 * PIECE}-"


@pytest.mark.parametrize("known", [True, False])
def test_a_file_that_changes_in_between_is_begun_again(server: Server, path: Path, known: bool) -> None:
    other = CONTENT[::-1]

    def change(_: BaseHTTPRequestHandler) -> bool:
        server.content, server.etag = other, '"two"'
        return False

    server.faults = [server.cut_after(3 * PIECE), change]
    sha256 = hashlib.sha256(other).hexdigest() if known else None
    download([server.url], path, sha256=sha256, progress=False)
    assert path.read_bytes() == other


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_tag_nothing_is_stitched(server: Server, path: Path, etag: str | None) -> None:
    server.etag = etag
    server.faults = [server.cut_after(3 * PIECE)]
    download([server.url], path, progress=False)
    assert path.read_bytes() == CONTENT and server.ranges == [None, None]


def test_the_date_tells_it_too(server: Server, path: Path) -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    server.etag, server.headers = None, {"Last-Modified": date}
    tags = []

    def look(handler: BaseHTTPRequestHandler) -> bool:
        tags.append(handler.headers["If-Range"])
        return False

    server.faults = [server.cut_after(3 * PIECE), look]
    download([server.url], path, progress=False)
    assert tags == [date] and server.ranges[1] == f"bytes={3 * PIECE}-" and path.read_bytes() == CONTENT


def test_a_server_that_ignores_ranges(server: Server, path: Path) -> None:
    def whole(handler: BaseHTTPRequestHandler) -> bool:
        del handler.headers["Range"]
        return False

    server.faults = [server.cut_after(3 * PIECE), whole]
    download([server.url], path, sha256=SHA256, progress=False)
    assert path.read_bytes() == CONTENT


def test_a_server_that_sends_another_range(server: Server, path: Path) -> None:
    def wrong(handler: BaseHTTPRequestHandler) -> bool:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT)
        return True

    server.faults = [server.cut_after(3 * PIECE), wrong]
    download([server.url], path, progress=False)
    assert path.read_bytes() == CONTENT


def test_what_is_complete_already_is_seen(server: Server, path: Path) -> None:
    """Killed between the last byte and the renaming: the server has nothing more to give (416)."""
    path.with_name("file.zip.part").write_bytes(CONTENT)
    notes = {"url": server.url, "etag": '"one"', "modified": ""}
    path.with_name("file.zip.part.json").write_text(json.dumps(notes))
    download([server.url], path, sha256=SHA256, progress=False)
    assert path.read_bytes() == CONTENT and server.ranges == [f"bytes={len(CONTENT)}-"]


def test_more_there_than_the_server_has(server: Server, path: Path) -> None:
    path.with_name("file.zip.part").write_bytes(CONTENT + b"more")
    notes = {"url": server.url, "etag": '"one"', "modified": ""}
    path.with_name("file.zip.part.json").write_text(json.dumps(notes))
    download([server.url], path, progress=False)
    assert path.read_bytes() == CONTENT


def test_a_wrong_beginning_is_found_by_the_hash(server: Server, path: Path) -> None:
    path.with_name("file.zip.part").write_bytes(b"x" * 1000)
    notes = {"url": server.url, "etag": '"one"', "modified": ""}
    path.with_name("file.zip.part.json").write_text(json.dumps(notes))
    download([server.url], path, sha256=SHA256, progress=False)
    assert path.read_bytes() == CONTENT and server.ranges == ["bytes=1000-", None]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (status(404), r"is not there any more \(HTTP 404\)"),
        (status(410), r"is not there any more \(HTTP 410\)"),
        (status(403), r"refuses \(the terms may have to be agreed to first, .* \(HTTP 403\)"),
        (status(401), r"wants a login \(HTTP 401\)"),
        (status(418), r"answers with an error \(HTTP 418\)"),
        (status(200, {"Content-Type": "text/html; charset=utf-8"}), "answers with a web page"),
        (status(200, {"Content-Encoding": "gzip"}), "sends the file re-encoded"),
    ],
)
def test_refusals_are_explained_and_not_repeated(
    server: Server, path: Path, fault: Callable[[BaseHTTPRequestHandler], bool], message: str
) -> None:
    server.faults = [fault]
    with pytest.raises(DownloadError, match=message) as caught:
        download([server.url], path, progress=False)
    assert len(server.ranges) == 1 and str(caught.value).startswith(server.url)
    assert "\n" not in str(caught.value) and names(path) == []


def test_a_server_that_never_recovers(server: Server, path: Path, pauses: list[float]) -> None:
    server.faults = [status(503, {"Retry-After": "7"})] + [status(500)] * 20
    with pytest.raises(DownloadError, match=r"busy or failing \(HTTP 500\), 5 times in a row"):
        download([server.url], path, progress=False)
    assert pauses == [7, 4, 8, 16]
    closed = server.url.replace(str(server.http.server_port), "1")
    with pytest.raises(DownloadError, match=r"the connection failed \(.*refused.*\), 5 times in a row"):
        download([closed], path, progress=False)


def test_other_files_are_refused(server: Server, path: Path) -> None:
    with pytest.raises(DownloadError, match=r"has 300,000 bytes, expected 1,000"):
        download([server.url], path, size=1000, progress=False)
    with pytest.raises(DownloadError, match=f"what arrived is another file .{SHA256}, expected 00"):
        download([server.url], path, sha256="00", progress=False)
    assert names(path) == []


@pytest.mark.parametrize("known", [True, False])
def test_the_next_address_is_tried(server: Server, path: Path, known: bool) -> None:
    second = server.url.replace("file.zip", "mirror.zip")
    server.faults = [server.cut_after(PIECE), status(404)]
    download([server.url, second], path, sha256=SHA256 if known else None, progress=False)
    assert path.read_bytes() == CONTENT
    # Another server's beginning is kept only where the hash shows whether it was of the same file.
    there = f"bytes={PIECE}-"
    assert server.ranges == [None, there, there if known else None]


def test_a_mirror_with_a_shorter_file_costs_nothing(server: Server, path: Path) -> None:
    second = server.url.replace("file.zip", "mirror.zip")

    def shorter(_: BaseHTTPRequestHandler) -> bool:
        server.content = CONTENT[:1000]
        return False

    server.faults = [server.cut_after(2 * PIECE), status(404), shorter]
    with pytest.raises(DownloadError, match=r"mirror\.zip: has 1,000 bytes, expected 300,000"):
        download([server.url, second], path, size=len(CONTENT), sha256=SHA256, progress=False)
    server.content = CONTENT
    download([server.url, second], path, size=len(CONTENT), sha256=SHA256, progress=False)
    assert path.read_bytes() == CONTENT and server.ranges[-1] == f"bytes={2 * PIECE}-"


def test_a_mirror_with_another_file_costs_nothing_but_time(server: Server, path: Path) -> None:
    second = server.url.replace("file.zip", "mirror.zip")

    def right(_: BaseHTTPRequestHandler) -> bool:
        server.content, server.etag = CONTENT, '"two"'
        return False

    server.content = CONTENT[::-1]
    server.faults = [server.cut_after(2 * PIECE), status(404), right]
    download([server.url, second], path, sha256=SHA256, progress=False)
    assert path.read_bytes() == CONTENT and names(path) == ["file.zip"]
    assert server.ranges == [None, f"bytes={2 * PIECE}-", f"bytes={2 * PIECE}-", None]


@pytest.mark.parametrize("known", [True, False])
def test_given_again_it_begins_where_the_beginning_came_from(
    server: Server, path: Path, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [server.url, server.url.replace("file.zip", "mirror.zip")]
    sha256 = SHA256 if known else None

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.time, "sleep", interrupt)
        server.faults = [status(404), server.cut_after(4 * PIECE)]
        with pytest.raises(KeyboardInterrupt):
            download(urls, path, sha256=sha256, progress=False)
        server.faults = [server.cut_after(2 * PIECE)]
        with pytest.raises(KeyboardInterrupt):
            download(urls, path, sha256=sha256, progress=False)
    download(urls, path, sha256=sha256, progress=False)
    assert path.read_bytes() == CONTENT
    assert server.paths == ["/file.zip", *["/mirror.zip"] * 3]
    assert server.ranges == [None, None, f"bytes={4 * PIECE}-", f"bytes={6 * PIECE}-"]


def test_with_a_hash_neither_tag_nor_notes_are_needed(server: Server, path: Path) -> None:
    server.etag = None
    server.faults = [server.cut_after(3 * PIECE)]
    download([server.url], path, sha256=SHA256, progress=False)
    assert path.read_bytes() == CONTENT and server.ranges == [None, f"bytes={3 * PIECE}-"]
    path.unlink()
    path.with_name("file.zip.part").write_bytes(CONTENT[:1000])
    path.with_name("file.zip.part.json").write_text('{"url": ')
    download([server.url], path, sha256=SHA256, progress=False)
    assert path.read_bytes() == CONTENT and server.ranges[-1] == "bytes=1000-"


def test_where_nothing_comes_the_next_address_is_tried_soon(
    server: Server, path: Path, pauses: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    closed = server.url.replace(str(server.http.server_port), "1")
    download([closed, server.url], path, sha256=SHA256)
    assert path.read_bytes() == CONTENT and len(pauses) == 1
    said = capsys.readouterr().err
    assert "trying again in 2 s" in said and "2 times in a row; trying another address" in said


def test_cut_off_everywhere_ends(server: Server, path: Path) -> None:
    """Without a tag every attempt begins anew; getting now more, now less is no progress."""
    server.etag = None
    server.faults = [server.cut_after(count * PIECE) for count in (2, 1, 2, 1, 2, 1, 2, 1, 2)]
    with pytest.raises(
        DownloadError, match=r"cut off after .* of 300,000 bytes, 5 times in a row|Incomplete"
    ):
        download([server.url], path, progress=False)
    assert len(server.ranges) == 5


def test_a_server_that_falls_silent(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TIMEOUT", (5.0, 0.2))
    done = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> bool:
        handler.send_response(200)
        handler.send_header("ETag", '"one"')
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT[:PIECE])
        handler.wfile.flush()
        done.wait(10)
        handler.close_connection = True
        return True

    server.faults = [silent]
    download([server.url], path, sha256=SHA256, progress=False)
    done.set()
    assert server.ranges == [None, f"bytes={PIECE}-"] and path.read_bytes() == CONTENT


def test_a_certificate_that_is_not_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    def refuse(*_: object, **__: object) -> None:
        raise requests.exceptions.SSLError("certificate verify failed: certificate has expired")

    monkeypatch.setattr(requests, "get", refuse)
    with pytest.raises(DownloadError, match=r"its certificate is not valid \(.*has expired\)"):
        download(["https://example.org/x"], path, progress=False)


def test_an_invalid_address(path: Path) -> None:
    with pytest.raises(DownloadError, match="is not a valid address"):
        download(["nowhere"], path, progress=False)


def test_a_full_disk(server: Server, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        with pytest.raises(OSError, match=r"the disk is full: 0\.00 GB are needed, .* resumes where it"):
            download([server.url], path, progress=False)

    def full(*_: object, **__: object) -> Full:
        return Full()

    monkeypatch.setattr(module, "open", full, raising=False)
    with pytest.raises(OSError, match="the disk is full: more is needed"):
        download([server.url], path, progress=False)


class Full(io.BytesIO):
    """A file on a disk without room."""

    def write(self, _: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
