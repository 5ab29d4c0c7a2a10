"""Data sets: archives whole or not at all, and what the command says of them."""

import hashlib
import io
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from pointmae_zoo.cli import main
from pointmae_zoo.datasets.benchmarks import NAMES
from pointmae_zoo.datasets.benchmarks.downloadable import DATASETS, Dataset, download_dataset
from pointmae_zoo.system.download import unpack_zip
from samples.server import Server


def archive(**files: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as stream:
        for name, text in files.items():
            stream.writestr(name.replace("__", "/"), text)
    return packed.getvalue()


def dataset(server: Server, **changes: object) -> Dataset:
    known = Dataset(
        name="little",
        summary="a little data set",
        terms="free",
        urls=(server.url,),
        size=len(server.content),
        sha256=hashlib.sha256(server.content).hexdigest(),
        folder="little",
        use="modelnet40:FOLDER",
    )
    return replace(known, **changes)  # type: ignore[arg-type]


def test_a_data_set_is_fetched_once_and_unpacked(server: Server, tmp_path: Path) -> None:
    server.content = archive(little__a="1", little__deep__b="2")
    for _ in range(2):
        folder = download_dataset(dataset(server), tmp_path / "data", progress=False)
        assert folder == tmp_path / "data" / "little"
        assert (folder / "a").read_text() == "1" and (folder / "deep" / "b").read_text() == "2"
    assert len(server.ranges) == 1
    assert sorted(file.name for file in folder.parent.iterdir()) == ["little"]


def test_archives_that_are_not_as_they_should_be(server: Server, tmp_path: Path) -> None:
    whole = archive(little__a="1" * 1000)
    broken = bytearray(whole)
    broken[100] ^= 1  # within the stored text: the sum is wrong
    for content, message in (
        (archive(other__a="1"), "holds no folder little"),
        (bytes(broken), "damaged zip archive .*CRC"),
        (whole[:-30], "damaged zip archive"),
        (b"hello", "damaged zip archive"),
    ):
        file = tmp_path / "x.zip"
        file.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            unpack_zip(file, tmp_path / "little")
        assert [entry.name for entry in tmp_path.iterdir()] == ["x.zip"]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_any_byte_may_be_damaged(tmp_path: Path, method: int) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as stream:
        stream.writestr("little/a", "hello world " * 30)
    whole, file, messages = packed.getvalue(), tmp_path / "x.zip", set()
    for place in range(len(whole)):
        broken = bytearray(whole)
        broken[place] ^= 1
        file.write_bytes(broken)
        try:
            unpack_zip(file, tmp_path / "little")
        except ValueError as error:  # anything else would be a traceback
            assert str(error).startswith(f"{file}: ") and "\n" not in str(error)
            messages.add(str(error))
        else:  # a time or a comment
            shutil.rmtree(tmp_path / "little")
        assert [entry.name for entry in tmp_path.iterdir()] == ["x.zip"]
    assert any("damaged zip archive" in message for message in messages)
    # The bit at place 6 of a file's header, and 8 of the directory's entry: encrypted.
    assert any("password required" in message and "unpack it as" in message for message in messages)


def test_nothing_is_unpacked_outside(tmp_path: Path) -> None:
    file = tmp_path / "in" / "x.zip"
    file.parent.mkdir()
    with zipfile.ZipFile(file, "w") as stream:
        stream.writestr("little/a", "1")
        stream.writestr("../../evil", "2")
        stream.writestr("/evil", "3")
    unpack_zip(file, file.parent / "little")
    assert sorted(entry.name for entry in file.parent.iterdir()) == ["little", "x.zip"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["in"] and not Path("/evil").exists()


def test_the_command(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.content = archive(little__a="1")
    monkeypatch.setitem(DATASETS, "little", dataset(server))
    assert main(["download", "little", "--to", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "; verified by its sha256" in said and f"data: [modelnet40:{tmp_path}/little]" in said
    (tmp_path / "little" / "a").write_text("changed")
    assert main(["download", "little", "--to", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "; was there already, not checked" in said and "verified" not in said
    monkeypatch.setitem(DATASETS, "little", dataset(server, sha256=None, folder="absent"))
    assert main(["download", "little", "--to", str(tmp_path)]) == 2
    assert "holds no folder absent" in capsys.readouterr().err
    assert main(["download", "little"]) == 2
    assert "--to FOLDER is missing" in capsys.readouterr().err
    assert main(["download", "modelnet", "--to", str(tmp_path)]) == 2
    assert "no data set 'modelnet'; known: modelnet40, " in capsys.readouterr().err


def test_what_has_to_be_asked_for_says_where(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("shapenet55", "shapenetpart", "scanobjectnn"):
        assert main(["download", name, "--to", str(tmp_path)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "https://" in said and "terms" in said
    assert list(tmp_path.iterdir()) == []
    assert main(["download"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in DATASETS) and "not verified: no sha256 is known" in listed


def test_the_table_says_what_can_be_checked() -> None:
    for dataset in DATASETS.values():
        assert all(url.startswith("https://") and url.endswith(".zip") for url in dataset.urls)
        assert dataset.sha256 is None or len(bytes.fromhex(dataset.sha256)) == 32
        assert dataset.terms and bool(dataset.urls) != bool(dataset.by_hand)
        assert dataset.use.rpartition(":")[0] in ("", *NAMES)


def test_an_archive_brought_by_hand_is_used_and_stays(server: Server, tmp_path: Path) -> None:
    content = archive(little__a="1")
    (tmp_path / "little.zip").write_bytes(content)
    known = dataset(server, size=None, sha256=hashlib.sha256(content).hexdigest())
    assert (download_dataset(known, tmp_path, progress=False) / "a").read_text() == "1"
    assert server.ranges == [] and (tmp_path / "little.zip").exists()
