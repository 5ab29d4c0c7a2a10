"""A disk without room: the error names the file, what was there stays, and what was done is kept."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from pointmae_zoo import embed_files, from_pretrained, predict_parts, save_pretrained
from pointmae_zoo.cli.printing import one_line
from pointmae_zoo.inference import read_table
from pointmae_zoo.inference.resumable import Journal
from pointmae_zoo.system.files import full_disk, written_whole
from samples.models import SMALL, small


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    folder = tmp_path / "shapes"
    folder.mkdir()
    for number in range(6):
        trimesh.creation.box(extents=(1, 1, 1 + number)).export(folder / f"{number}.stl")
    return folder


def full(file: Any = None, *_: Any, **__: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("there", [True, False])
def test_the_file_is_named_and_what_is_kept(tmp_path: Path, number: int, there: bool) -> None:
    path = tmp_path / "t.bin"
    if there:
        path.write_text("before")
    with pytest.raises(OSError) as caught, written_whole(path) as unfinished:
        unfinished.write_text("half")
        raise OSError(number, os.strerror(number))
    kept = "the file that was there is unchanged" if there else "nothing was written"
    assert one_line(caught.value) == (
        f"{path}: {os.strerror(number)}; {kept}; make room on this disk and run it again"
    )
    assert [file.name for file in tmp_path.iterdir()] == (["t.bin"] if there else [])
    assert not there or path.read_text() == "before"


def test_what_libraries_make_of_a_full_disk_is_recognised(tmp_path: Path) -> None:
    class Full:
        def write(self, data: bytes) -> int:
            return full()

        def flush(self) -> None: ...

    said = "No space left on device; nothing was written"
    with pytest.raises(OSError, match=said), written_whole(tmp_path / "a.pt"):
        torch.save({"a": torch.zeros(9)}, Full())  # type: ignore[arg-type]
    assert full_disk(RuntimeError("No such file")) is None and full_disk(OSError(errno.EACCES, "no")) is None


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_a_real_limit_while_a_file_is_written(tmp_path: Path) -> None:
    """The system itself refuses in the middle of a file, as a full disk does."""
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
import numpy as np
from pathlib import Path
from pointmae_zoo.cli.printing import one_line
from pointmae_zoo.inference.resumable import Journal
from pointmae_zoo.inference.feature_tables import Embeddings, write_table
from pointmae_zoo.shapes.measures import Measures
SIZE = Measures((1.0, 1.0, 1.0), None, None, 0, False)
said = []
journal = Journal(Path({str(tmp_path / "j")!r}), {{}})
try:
    for number in range(99):
        journal.add([str(number)], np.ones((1, 100), np.float32), [SIZE])
except OSError as error:
    said.append(one_line(error))
journal.close()
try:
    write_table({str(tmp_path / "t.npz")!r}, Embeddings(["a"], np.ones((1, 5000), np.float32)))
except OSError as error:
    said.append(one_line(error))
print(*said, sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        f"{tmp_path / 'j'}: File too large",
        f"{tmp_path / 't.npz'}: File too large; nothing was written; make room on this disk and run it again",
    ], done.stderr
    whole = (tmp_path / "j").read_bytes()
    assert whole.endswith(b"\n") and all(json.loads(line) for line in whole.splitlines())
    assert list(Journal(tmp_path / "j", {}).rows) == [str(number) for number in range(whole.count(b"\n") - 1)]
    assert [file.name for file in tmp_path.iterdir()] == ["j"]


@pytest.mark.parametrize("where", ["journal", "table"])
def test_rows_are_kept_and_the_next_run_goes_on(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    model, out = small(), tmp_path / "t.npz"
    settings: dict[str, Any] = {"out": out, "batch_size": 2, "progress": False}
    write: Callable[..., int] = os.write
    calls = []

    def filling(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        return full() if len(calls) > 3 else write(descriptor, data)

    with monkeypatch.context() as patch:
        if where == "journal":
            patch.setattr("pointmae_zoo.inference.resumable.os.write", filling)
        else:
            patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError) as caught:
            embed_files(shapes, model, **settings)
    partial = tmp_path / "t.npz.partial"
    named = partial if where == "journal" else out
    assert one_line(caught.value) == (
        f"{named}: No space left on device; {partial} keeps the rows so far: make room on this disk, and the "
        "same command continues from there"
    )
    if where == "journal":  # nor may it begin one
        with monkeypatch.context() as patch, pytest.raises(OSError) as caught:
            patch.setattr("pointmae_zoo.inference.resumable.os.write", full)
            embed_files(shapes, model, out=tmp_path / "u.npz", progress=False)
        assert one_line(caught.value) == (
            f"{tmp_path / 'u.npz.partial'}: No space left on device; make room on this disk and run it again"
        )
    kept = partial.read_bytes().count(b"\n") - 1
    assert kept == (4 if where == "journal" else 6) and not out.exists()
    computed = []
    monkeypatch.setattr(type(model), "forward", counted(type(model).forward, computed))
    embed_files(shapes, model, **settings)
    assert len(computed) == (6 - kept) // 2 and not partial.exists()
    whole = read_table(out)
    monkeypatch.undo()
    again = embed_files(shapes, model, batch_size=2, progress=False)
    np.testing.assert_array_equal(whole.features, again.features)


def counted(forward: Callable[..., Any], calls: list[int]) -> Callable[..., Any]:
    def wrapper(self: Any, *given: Any) -> Any:
        calls.append(1)
        return forward(self, *given)

    return wrapper


def test_coloured_clouds_that_were_made_are_kept(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = small(kind="part_segmentation", num_parts=2, num_object_classes=1)
    settings: dict[str, Any] = {"batch_size": 2, "progress": False}
    write, calls = Path.write_bytes, []

    def filling(self: Path, data: bytes) -> int:
        calls.append(self.name)
        return full() if len(calls) > 2 else write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", filling)
        with pytest.raises(OSError, match="No space left on device; nothing was written") as caught:
            predict_parts(shapes, model, tmp_path / "out", **settings)
    assert caught.value.filename == str(tmp_path / "out" / "2.stl.parts.ply")
    predict_parts(shapes, model, tmp_path / "out", **settings)
    assert "2 of 6 clouds are there" in capsys.readouterr().err


def test_weights_and_their_config_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pretrained(small(0), tmp_path)
    for method, name in (("write_bytes", "model.safetensors"), ("write_text", "config.json")):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, full)
            with pytest.raises(OSError, match="the file that was there is unchanged") as caught:
                save_pretrained(small(0), tmp_path)
        assert caught.value.filename == str(tmp_path / name)
    assert from_pretrained(tmp_path).config.arguments["num_tokens"] == SMALL["num_tokens"]
