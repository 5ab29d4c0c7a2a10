"""Tables of features in files."""

import csv
import dataclasses
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from pointmae_zoo.inference import Embeddings, read_table, write_table
from pointmae_zoo.inference.feature_tables import FORMATS, MEASURED, check_table_path
from pointmae_zoo.shapes.measures import Measures

METADATA = {"model": "i2p_mae_tiny.shapes", "fingerprint": "ab" * 32, "pool": "max", "seed": 3, "up": "z"}
NAMES = ["a, b.stl", 'parts/"quoted".obj', "parts/Schräge Fläche 面.ply", "x/\udcff.off", "z.npy"]
ODD = [
    *NAMES,
    "a\nb.stl",
    "a\rb.stl",
    '\r"\udc80.stl',
    "%20%s{}.stl",
    "\\xff.stl",
    "\udcff\udcfe",
    " , ",
    "'",
]


def table(names: list[str] = NAMES, width: int = 6) -> Embeddings:
    values = np.random.default_rng(0).normal(size=(len(names), width)) * 10.0 ** np.arange(-3, width - 3)
    return Embeddings(
        names,
        values.astype(np.float32),
        [("bad.stl", "is empty")],
        METADATA,
        measures=[
            Measures((1.5, 2.0, n + 1 / 3), None, None, 0, False)
            if n % 3 == 2
            else Measures((1.0, 2.0, n / 7), 1e-12 * n, None if n % 2 else 4.0, 12 * n, n % 2 == 0)
            for n in range(len(names))
        ],
    )


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("count", [0, 1, len(ODD)])
def test_round_trip(tmp_path: Path, suffix: str, count: int) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    names = ODD[:count]
    written = table(names)
    write_table(tmp_path / f"t{suffix}", written)
    read = read_table(tmp_path / f"t{suffix}")
    assert read.paths == written.paths and read.failures == []
    assert read.measures == written.measures
    np.testing.assert_array_equal(read.features, written.features)
    assert read.features.dtype == np.float32 and read.features.shape == (len(names), 6)
    assert read.metadata == ({} if suffix == ".csv" else METADATA)
    assert [file.name for file in tmp_path.iterdir()] == [f"t{suffix}"]  # nothing temporary is left


@pytest.mark.parametrize("suffix", FORMATS)
def test_tables_without_sizes_are_read(tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    older = dataclasses.replace(table(NAMES[:3]), measures=None)
    write_table(tmp_path / f"t{suffix}", older)
    read = read_table(tmp_path / f"t{suffix}")
    assert read.measures is None
    np.testing.assert_array_equal(read.features, older.features)


@pytest.mark.parametrize("suffix", FORMATS)
def test_same_table_same_bytes(tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    for name in ("a", "b"):
        write_table(tmp_path / f"{name}{suffix}", table(NAMES[:3]))
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_other_programs_can_read_them(tmp_path: Path) -> None:
    written = table(NAMES[:3])
    for suffix in (".npz", ".safetensors", ".csv"):
        write_table(tmp_path / f"t{suffix}", written)
    with np.load(tmp_path / "t.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"paths", "features", "metadata", *MEASURED}
        assert arrays["paths"].tolist() == NAMES[:3] and np.isnan(arrays["area"]).tolist() == [
            False,
            False,
            True,
        ]
        np.testing.assert_array_equal(arrays["features"], written.features)
    np.testing.assert_array_equal(load_file(tmp_path / "t.safetensors")["features"], written.features)
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == NAMES[:3]
    np.testing.assert_array_equal([np.float32(row["f5"]) for row in rows], written.features[:, 5])
    assert [row["watertight"] for row in rows] == ["True", "False", "False"] and rows[2]["area"] == ""


def test_names_that_are_no_text_are_where_the_module_says(tmp_path: Path) -> None:
    written = table(["a.stl", "x/\udcff.off"])
    for suffix in (".npz", ".safetensors", ".csv"):
        write_table(tmp_path / f"t{suffix}", written)
    with np.load(tmp_path / "t.npz", allow_pickle=False) as arrays:
        assert os.fsencode(str(arrays["paths"][1])) == b"x/\xff.off"
    assert b"\nx/\xff.off," in (tmp_path / "t.csv").read_bytes()
    pq = pytest.importorskip("pyarrow.parquet")
    write_table(tmp_path / "t.parquet", written)
    stored = pq.read_table(tmp_path / "t.parquet")
    assert stored["path"].to_pylist() == ["a.stl", r"x/\xff.off"]
    assert json.loads(stored.schema.metadata[b"pointmae_zoo"])["names"] == {"1": "x/\udcff.off"}


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_table_may_have_any_name(tmp_path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    for stem in ("with 'quotes\"", "%20%s", "Fläche 面", "\udcff", "line\nend", "a" * (255 - len(suffix))):
        write_table(tmp_path / f"{stem}{suffix}", table(NAMES[:2]))
        assert read_table(tmp_path / f"{stem}{suffix}").paths == NAMES[:2]
    assert len(list(tmp_path.iterdir())) == 6


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_table_that_is_a_pointer_says_so(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"t{suffix}").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    )
    with pytest.raises(ValueError, match=f"t{suffix}: is a Git LFS pointer: git lfs pull"):
        read_table(tmp_path / f"t{suffix}")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("t.pkl", ValueError, "name of a .npz or .safetensors or .csv or .parquet file"),
        ("t", ValueError, "expected the name of a"),
        ("none/t.npz", FileNotFoundError, "no such folder .*none; make it"),
        ("folder.npz", IsADirectoryError, "a folder; expected the name of a"),
    ],
)
def test_a_wrong_name_is_told_before_the_work(
    tmp_path: Path, name: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(error, match=message):
        check_table_path(tmp_path / name)


def test_parquet_without_its_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pointmae-zoo\[parquet\]"):
        check_table_path(tmp_path / "t.parquet")


def test_a_failed_write_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(tmp_path / "t.npz", table())

    def full(self: Path, data: bytes) -> int:
        with open(self, "wb") as file:
            file.write(data[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        OSError, match="No space left on device; the file that was there is unchanged"
    ) as caught:
        write_table(tmp_path / "t.npz", table(NAMES[:1]))
    assert caught.value.filename == str(tmp_path / "t.npz")
    assert read_table(tmp_path / "t.npz").paths == NAMES
    assert [file.name for file in tmp_path.iterdir()] == ["t.npz"]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".csv"])
@pytest.mark.parametrize("damage", ["text", "cut off", "empty"])
def test_damaged_tables_get_one_line(tmp_path: Path, suffix: str, damage: str) -> None:
    path = tmp_path / f"t{suffix}"
    write_table(path, table())
    whole = path.read_bytes()
    path.write_bytes({"text": b"Dear reader", "cut off": whole[: len(whole) - 40], "empty": b""}[damage])
    with pytest.raises(ValueError, match=f"t{suffix}: no table of features or damaged"):
        read_table(path)


def test_an_npz_of_something_else_and_a_pickle(tmp_path: Path) -> None:
    np.savez(tmp_path / "points.npz", points=np.ones((9, 3)))
    np.savez(tmp_path / "pickle.npz", paths=np.array([{}], object), features=np.ones((1, 3), np.float32))
    np.savez(tmp_path / "lengths.npz", paths=np.array(["a"]), features=np.ones((2, 3), np.float32))
    for name in ("points", "pickle", "lengths"):
        with pytest.raises(ValueError, match=f"{name}.npz: no table of features"):
            read_table(tmp_path / f"{name}.npz")
    with pytest.raises(FileNotFoundError, match=r"no such file; 'pointmae-zoo embed'"):
        read_table(tmp_path / "none.npz")


def test_the_npz_is_a_zip_without_a_date_of_today(tmp_path: Path) -> None:
    write_table(tmp_path / "t.npz", table())
    with zipfile.ZipFile(tmp_path / "t.npz") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
