"""Large files from the web: resumed where they were cut off, verified, and whole or not at all.

pooch and
fsspec begin again after a cut connection, and try one address only."""

import contextlib
import errno
import json
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pointmae_zoo.system.files import file_sha256

ATTEMPTS = 5
"""How often an address is tried without a single new byte before the next one is."""

_ATTEMPTS_WITH_NOTHING = 2  # where not one byte has come and there are other addresses
_PAUSE = 1.0  # seconds before the second attempt; twice as long before each further one
_LONGEST_PAUSE = 60.0
_TIMEOUT = (15.0, 60.0)  # seconds to connect, and between two pieces
_PIECE = 1 << 15  # bytes: what a cut connection loses at most
_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)


class DownloadError(OSError):
    """What kept a file from arriving, in one line."""


class _Unavailable(Exception):
    """This address will not give the file, however often it is asked; why."""


class _MayPass(Exception):
    """Something that may pass; why, and how long the server wants to be left alone."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


def download(
    urls: Sequence[str],
    path: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    progress: bool = True,
) -> None:
    """Download one file to ``path``, from the first of the addresses that gives it.

    An interrupted download leaves ``path`` + ``.part``. The next one resumes there: from the same address, if
    the server can tell that the file is still the same; with a ``sha256`` from any address, because the hash
    shows in the end whether the parts fit. With a ``sha256``, a file that differs is never left at ``path``.

    Args:
        size: in bytes; addresses with a file of another size are skipped.

    Raises:
        DownloadError: no address gave it; says why for each.
        OSError: no room, or no right to write.
    """
    if path.exists() and _matches(path, size, sha256):
        return
    begun = _read_notes(_part_file(path)).get("url")
    urls = sorted(urls, key=lambda url: url != begun)  # what is there already came from that one
    reasons = []
    for number, url in enumerate(urls, 1):
        try:
            _download_from(url, path, size, sha256, progress, elsewhere=number < len(urls))
            return
        except _Unavailable as error:
            reasons.append(f"{url}: {error}")
            if progress and number < len(urls):
                print(f"{reasons[-1]}; trying another address", file=sys.stderr)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _no_room(path, None) from error
            raise
    raise DownloadError("; ".join(reasons))


def unpack_zip(archive: Path, folder: Path) -> None:
    """Unpack a zip archive that holds a folder of this name; it appears whole or not at all.

    Raises:
        ValueError: no zip archive, damaged, or without that folder.
        OSError: no room.
    """
    unfinished = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with _open_zip(archive, folder) as packed:
            needed = sum(member.file_size for member in packed.infolist())
        if shutil.disk_usage(archive.parent).free < needed:
            raise _no_room(folder, needed)
        with _open_zip(archive, folder) as packed:
            packed.extractall(unfinished)  # checks every file's sum, and keeps inside the folder
        if not (unfinished / folder.name).is_dir():
            raise ValueError(f"{archive}: holds no folder {folder.name}; delete it and fetch it again")
        os.replace(unfinished / folder.name, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextlib.contextmanager
def _open_zip(archive: Path, folder: Path) -> Iterator[zipfile.ZipFile]:
    """A zip archive to be read. Raises ValueError, whichever way it is damaged or cannot be read."""
    try:
        with zipfile.ZipFile(archive) as packed:
            yield packed
    except MemoryError:
        raise
    except RuntimeError as error:  # a password is asked for, or NotImplementedError: a rare compression
        said = " ".join(str(error).split())[:160]
        raise ValueError(f"{archive}: cannot be unpacked here ({said}); unpack it as {folder}") from error
    except Exception as error:  # every decompressor has errors of its own, zlib.error and others
        # Damaged positions lie before the file (EINVAL), and bz2 gives no number; others are the disk's.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        said = " ".join(str(error).split())[:160]
        raise ValueError(f"{archive}: damaged zip archive ({said}); delete it and fetch it again") from error


def _download_from(
    url: str, path: Path, size: int | None, sha256: str | None, progress: bool, *, elsewhere: bool
) -> None:
    """``elsewhere``: there is another address to try. Raises _Unavailable."""
    part = _part_file(path)
    fresh = not part.exists()
    failures, pause, most = 0, _PAUSE, 0 if fresh else part.stat().st_size
    while True:
        try:
            _transfer(url, part, size, progress, hash_known=sha256 is not None)
        except _MayPass as error:
            there = part.stat().st_size if part.exists() else 0
            failures, pause = (1, _PAUSE) if there > most else (failures + 1, pause * 2)
            most = max(most, there)
            if failures >= (ATTEMPTS if most or not elsewhere else _ATTEMPTS_WITH_NOTHING):
                raise _Unavailable(f"{error}, {failures} times in a row") from error
            wait = min(max(pause, error.pause), _LONGEST_PAUSE)
            if progress:
                print(f"{url}: {error}; trying again in {wait:g} s", file=sys.stderr)
            time.sleep(wait)
            continue
        if _matches(part, size, sha256):
            os.replace(part, path)
            _notes_file(part).unlink(missing_ok=True)
            return
        found = file_sha256(part) if sha256 else f"{part.stat().st_size:,} bytes"
        _discard(part)
        if fresh:
            raise _Unavailable(f"what arrived is another file ({found}, expected {sha256 or size})")
        fresh = True  # what was left of an earlier attempt may have been of another file


def _transfer(url: str, part: Path, size: int | None, progress: bool, *, hash_known: bool) -> None:
    """Fetch what is missing of ``part``. Raises _MayPass or _Unavailable."""
    import requests

    start, validator = _resumable(part, url, hash_known)
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    if validator:
        headers["If-Range"] = validator
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            if response.status_code == 416 and start:  # nothing after what is there, or a shorter file
                total = _total_of(response)
                if size is not None and total is not None and total != size:
                    raise _Unavailable(f"has {total:,} bytes, expected {size:,}")
                if total != start:
                    _discard(part)
                    raise _MayPass("the file on the server has changed")
                return
            _check_status(response)
            if response.status_code == 206:
                total = _check_range(response, start, part)
            else:
                start = 0
                length = response.headers.get("Content-Length", "")
                total = int(length) if length.isdigit() else None
            if size is not None and total is not None and total != size:
                raise _Unavailable(f"has {total:,} bytes, expected {size:,}")
            _write(response, url, part, start, total if total is not None else size, progress)
    except requests.exceptions.SSLError as error:
        raise _Unavailable(f"its certificate is not valid ({_root_cause(error)})") from error
    except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema) as error:
        raise _Unavailable(f"is not a valid address ({error})") from error
    except requests.exceptions.TooManyRedirects as error:
        raise _Unavailable("redirects endlessly") from error
    except requests.exceptions.RequestException as error:
        raise _MayPass(f"the connection failed ({_root_cause(error)})") from error


def _write(response: Any, url: str, part: Path, start: int, total: int | None, progress: bool) -> None:
    from tqdm import tqdm

    if total is not None and shutil.disk_usage(part.parent).free < total - start:
        raise _no_room(part, total - start)
    headers = response.headers
    kept = {"url": url, "etag": headers.get("ETag", ""), "modified": headers.get("Last-Modified", "")}
    begun = not start or _read_notes(part).get("url") != url
    if begun:
        _notes_file(part).unlink(missing_ok=True)
    with open(part, "ab" if start else "wb") as stream:
        if begun:
            _notes_file(part).write_text(json.dumps(kept), encoding="utf-8")
        shown = None if progress else True
        name = part.name.removesuffix(".part")
        with tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=name, disable=shown) as bar:
            for piece in response.iter_content(_PIECE):
                stream.write(piece)
                bar.update(len(piece))
        arrived = stream.tell()
    if total is not None and arrived < total:
        raise _MayPass(f"the connection was cut off after {arrived:,} of {total:,} bytes")
    if total is not None and arrived > total:
        _discard(part)
        raise _Unavailable(f"sends more than the {total:,} bytes that it announces")


def _check_status(response: Any) -> None:
    code = response.status_code
    if code in (200, 206):
        if "text/html" in response.headers.get("Content-Type", ""):
            raise _Unavailable("answers with a web page, not with the file")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise _Unavailable("sends the file re-encoded, which cannot be resumed")
        return
    if code in _MAY_PASS:
        wait = response.headers.get("Retry-After", "")
        raise _MayPass(f"the server is busy or failing (HTTP {code})", float(wait) if wait.isdigit() else 0.0)
    said = {
        401: "wants a login",
        403: "refuses (the terms may have to be agreed to first, or the place is blocked)",
        404: "is not there any more",
        410: "is not there any more",
    }.get(code, "answers with an error")
    raise _Unavailable(f"{said} (HTTP {code})")


def _check_range(response: Any, start: int, part: Path) -> int | None:
    """The size of the whole file, of which the response brings what begins at ``start``."""
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    first, _, _ = rest.partition("-")
    if unit != "bytes" or first != str(start):
        _discard(part)
        raise _MayPass("the server sent another part of the file than the one asked for")
    return _total_of(response)


def _total_of(response: Any) -> int | None:
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


def _resumable(part: Path, url: str, hash_known: bool) -> tuple[int, str]:
    """How many bytes can be kept, and what tells the server which file they are of, "" if nothing does.

    Without that they are kept only if a known hash will show whether they were of the same file.
    """
    there = part.stat().st_size if part.exists() else 0
    kept = _read_notes(part)
    validator = ""
    if there and kept.get("url") == url:
        # A weak tag promises a file of the same meaning, not of the same bytes.
        etag = kept.get("etag", "")
        validator = etag if etag and not etag.startswith("W/") else kept.get("modified", "")
    return (there if validator or hash_known else 0), validator


def _matches(path: Path, size: int | None, sha256: str | None) -> bool:
    if size is not None and path.stat().st_size != size:
        return False
    return sha256 is None or file_sha256(path) == sha256


def _part_file(path: Path) -> Path:
    """What has arrived of a file so far."""
    return path.with_name(path.name + ".part")


def _read_notes(part: Path) -> dict[str, str]:
    """``url``, ``etag`` and ``modified`` of the address that gave (the last of) ``part``; {} if unknown."""
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(_notes_file(part).read_text(encoding="utf-8"))
        if isinstance(kept, dict) and all(isinstance(value, str) for value in kept.values()):
            return kept
    return {}


def _notes_file(part: Path) -> Path:
    """What is known of the file that ``part`` is the beginning of."""
    return part.with_name(part.name + ".json")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _notes_file(part).unlink(missing_ok=True)


def _no_room(path: Path, needed: int | None) -> OSError:
    free = shutil.disk_usage(path.parent).free
    wanted = f"{needed / 1e9:.2f} GB are needed" if needed else "more is needed"
    return OSError(
        f"{path.parent}: the disk is full: {wanted}, {free / 1e9:.2f} GB are free; make room and "
        "give the command again, it resumes where it stopped"
    )


def _root_cause(error: BaseException) -> str:
    """The innermost of a chain of errors: what really happened."""
    while (
        inner := error.__cause__ or error.__context__ or _wrapped(error)
    ) is not None and inner is not error:
        error = inner
    said = " ".join(str(error).split())
    return said[:160] or type(error).__name__


def _wrapped(error: BaseException) -> BaseException | None:
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return reason
    return next((arg for arg in error.args if isinstance(arg, BaseException)), None)
