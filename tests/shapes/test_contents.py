"""What a file is: its content decides, and what is no shape is called by its name."""

import gzip
import io
import os
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh

from pointmae_zoo.shapes import contents
from pointmae_zoo.shapes.contents import no_shape, shape_format
from pointmae_zoo.shapes.notes import ReadNote, about, collecting, note
from pointmae_zoo.shapes.read import MeshError, read_points
from pointmae_zoo.shapes.suffixes import SUPPORTED_SUFFIXES
from samples.meshes import CORNERS, box, stl_bytes

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def packed(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def tarred(name: str, data: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


PLAIN = stl_bytes(np.eye(3)[None])
NOT_SHAPES: dict[str, tuple[bytes, str]] = {
    "pointer": (POINTER, "is a Git LFS pointer: git lfs pull"),
    "annex": (b"/annex/objects/SHA256E-s31390--f50d7ac4c6b9031379986bc362fcefb65f1e.stl\n", "git annex get"),
    "page": (b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title>", "is a saved web page (HTML)"),
    "page in capitals": (b"\xef\xbb\xbf<HTML><BODY>404</BODY></HTML>", "is a saved web page (HTML)"),
    "page as xml": (b'<?xml version="1.0"?>\n<!-- x --><html xmlns="x">', "is a saved web page (HTML)"),
    "page in UTF-16": ("\ufeff<!doctype html><p>".encode("utf-16-le"), "is a saved web page (HTML)"),
    "answer": (b'{"message": "Not Found", "documentation_url": "x"}', '"message": Not Found'),
    "storage": (
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        "an error message of a server",
    ),
    "collada": (b'<?xml version="1.0"?><COLLADA xmlns="x">', "is a COLLADA file, which is not read"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is a picture (SVG)"),
    "png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is a picture (PNG)"),
    "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "is a picture (JPEG)"),
    "bmp": (b"BM" + struct.pack("<I", 60) + bytes(54), "is a picture (BMP)"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", "is a PDF document"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4", "is a 7z archive: unpack it"),
    "rar": (b"Rar!\x1a\x07\x01\0", "is a RAR archive: unpack it"),
    "tar": (tarred("a.stl", PLAIN), "is a tar archive: unpack it"),
    "tar.gz": (gzip.compress(tarred("a.stl", PLAIN)), "is a tar archive: unpack it"),
    "bz2": (b"BZh91AY&SY", "is compressed with bzip2: unpack it"),
    "zip": (packed({"a.stl": PLAIN, "b.stl": PLAIN, "c.txt": b""}), "of 3 files (a.stl, b.stl, ...): unpack"),
    "torch": (packed({"archive/data.pkl": b"\x80\x02."}), "is a torch checkpoint"),
    "docx": (packed({"word/document.xml": b"<x/>"}), "is an Office document"),
    "step": (b"ISO-10303-21;\nHEADER;", "is a STEP file that was cut off"),
    "blender": (b"BLENDER-v300", "is a Blender file"),
    "zeros": (bytes(5000), "holds nothing but zero bytes"),
    "blanks": (b" \r\n\t" * 30, "holds nothing but blanks"),
    "twice": (gzip.compress(gzip.compress(PLAIN)), "is compressed with gzip twice"),
    "nothing in gzip": (gzip.compress(b""), "holds nothing"),
    "cut-off gzip": (gzip.compress(PLAIN)[:-20], "is compressed (gzip) and was cut off"),
    "damaged gzip": (b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + b"\xff" * 40, "is compressed (gzip) and damaged"),
}


@pytest.mark.parametrize("suffix", SUPPORTED_SUFFIXES)
@pytest.mark.parametrize("name", NOT_SHAPES)
def test_what_is_no_shape_says_what_it_is(tmp_path: Path, name: str, suffix: str) -> None:
    data, said = NOT_SHAPES[name]
    (tmp_path / f"a{suffix}").write_bytes(data)
    with collecting(), pytest.raises(MeshError) as caught:
        read_points(tmp_path / f"a{suffix}", 9)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.path == str(tmp_path / f"a{suffix}")


def shapes(folder: Path) -> dict[str, Path]:
    """The same box in every format, as other programs write it."""
    found = {}
    for suffix in (".stl", ".obj", ".off", ".ply", ".glb", ".3mf"):
        found[suffix] = folder / f"box{suffix}"
        box().export(found[suffix])
    for name, data in trimesh.exchange.gltf.export_gltf(trimesh.Scene(box())).items():
        (folder / name).write_bytes(data)
    found[".gltf"] = folder / "model.gltf"
    points = np.asarray(CORNERS, dtype=np.float64)
    np.save(folder / "p.npy", points)
    np.savez(folder / "p.npz", points=points)
    rows = "\n".join(" ".join(map(repr, row)) for row in points.tolist())
    header = "VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 8\nHEIGHT 1\nPOINTS 8\n"
    (folder / "p.pcd").write_text(f"{header}DATA ascii\n{rows}\n")
    return found | {suffix: folder / f"p{suffix}" for suffix in (".npy", ".npz", ".pcd")}


def test_the_content_decides_and_the_suffix_is_a_hint(tmp_path: Path) -> None:
    found = shapes(tmp_path)
    (tmp_path / "box.STL").write_bytes(box().export(file_type="stl_ascii").encode())
    for suffix, file in {**found, ".STL": tmp_path / "box.STL"}.items():
        wanted = read_points(file, 50)
        assert shape_format(file.read_bytes()) == suffix.lower()
        for other in (*SUPPORTED_SUFFIXES, ".txt", ".dat", ""):
            if other == suffix.lower():
                continue
            renamed = tmp_path / f"renamed{other}"
            renamed.write_bytes(file.read_bytes())
            with pytest.warns(ReadNote, match=f"renamed{other}: is an? .* by its content") as caught:
                np.testing.assert_array_equal(read_points(renamed, 50), wanted)
            assert len(caught) == 1


def test_compressed_files_are_read(tmp_path: Path) -> None:
    for suffix, file in shapes(tmp_path).items():
        (tmp_path / f"c{suffix.upper()}.Gz").write_bytes(gzip.compress(file.read_bytes()))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            wanted = read_points(file, 50)
            np.testing.assert_array_equal(read_points(tmp_path / f"c{suffix.upper()}.Gz", 50), wanted)
    # Two members, one after the other, are one file; zeros after it are what tapes leave.
    data = (tmp_path / "box.stl").read_bytes()
    (tmp_path / "two.stl.gz").write_bytes(gzip.compress(data[:300]) + gzip.compress(data[300:]) + bytes(512))
    np.testing.assert_array_equal(read_points(tmp_path / "two.stl.gz"), read_points(tmp_path / "box.stl"))
    with pytest.warns(ReadNote, match=r"c.stl: is compressed with gzip, although"):
        (tmp_path / "c.stl").write_bytes(gzip.compress(data))
        np.testing.assert_array_equal(read_points(tmp_path / "c.stl"), read_points(tmp_path / "box.stl"))


def test_free_text_before_binary_triangles_decides_nothing(tmp_path: Path) -> None:
    plain = stl_bytes(np.random.default_rng(0).random((20, 3, 3)))
    (tmp_path / "plain.stl").write_bytes(plain)
    wanted = read_points(tmp_path / "plain.stl", 99)
    for start in (b"<html>", b"{", b"OFF 8 12 0\n", b"ply\n", b"v 1 2 3\nf", b"solid facet", POINTER[:79]):
        for end in (b"", b"more"):  # with something behind them, too
            (tmp_path / "a.stl").write_bytes(start.ljust(80, b"\0") + plain[80:] + end)
            if end and start in (b"OFF 8 12 0\n", b"ply\n", b"solid facet", POINTER[:79]):
                continue  # nobody can tell
            np.testing.assert_array_equal(read_points(tmp_path / "a.stl", 99), wanted)


def test_text_with_a_point_in_each_row_has_many_names(tmp_path: Path) -> None:
    rows = "x,y,z\n" + "".join(f"{x},{y},{z}\n" for x, y, z in CORNERS)
    for name in ("a.xyz", "a.txt", "a.csv", "a.ASC", "a.pts"):
        (tmp_path / name).write_text(rows)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(read_points(tmp_path / name), np.asarray(CORNERS, np.float32))
    for name, said in {"a.dat": "has the suffix '.dat'", "a": "has no suffix"}.items():
        (tmp_path / name).write_text(rows)
        with pytest.raises(MeshError, match=f"{said}: expected one of .stl"):
            read_points(tmp_path / name)


@pytest.mark.parametrize(
    "text", ["1 2 3\n4 5 6\n", '{"points": []}', "a poem\n", "8 12 0\n0 0 0\n", "v 1 2\n"]
)
def test_doubtful_content_leaves_it_to_the_suffix(text: str) -> None:
    assert shape_format(text.encode()) is None and no_shape(text.encode()) is None


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MOST_UNPACKED", 1 << 20)
    (tmp_path / "a.stl.gz").write_bytes(gzip.compress(bytes(1 << 26)))
    model = b'<?xml version="1.0"?><model>' + b" " * (1 << 21)
    (tmp_path / "a.3mf").write_bytes(packed({"3D/3dmodel.model": model, "[Content_Types].xml": b"<x/>"}))
    array = io.BytesIO()
    np.save(array, np.zeros((100_000, 3)))
    (tmp_path / "a.npz").write_bytes(packed({"points.npy": array.getvalue()}))
    for name in ("a.stl.gz", "a.3mf", "a.npz"):
        with pytest.raises(MeshError, match=r"unpacks to .*more than 0.000977 GB"):
            read_points(tmp_path / name)
    many = {f"a{number}.npy": array.getvalue()[: 1 << 19] for number in range(4)}  # one at a time is read
    assert contents.check_members(packed(many)) is None


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.stl")  # opening it would wait for ever
    (tmp_path / "b.stl").symlink_to(tmp_path / "a.stl")
    for name in ("a.stl", "b.stl"):
        with pytest.raises(MeshError, match=f"{name}: is no regular file but a named pipe"):
            read_points(tmp_path / name)
    with pytest.raises(MeshError, match="null: is no regular file but a device"):
        read_points("/dev/null")
    (tmp_path / "c.stl").symlink_to("nowhere/c.stl")
    with pytest.raises(MeshError, match=r"is a link to nowhere/c.stl, which does not exist"):
        read_points(tmp_path / "c.stl")
    with pytest.raises(MeshError, match=r"a\\nb.stl: does not exist"):
        read_points(tmp_path / "a\nb.stl")


def test_a_name_of_any_bytes_is_read(tmp_path: Path) -> None:
    for suffix, file in shapes(tmp_path).items():
        odd = tmp_path / f"\udcff\n'\"%{suffix}"
        odd.write_bytes(file.read_bytes())
        np.testing.assert_array_equal(read_points(odd, 50), read_points(file, 50))


def test_notes_are_collected_or_warnings() -> None:
    with collecting() as notes, about("part.3mf"):
        note("left out 1 support\nobject")
        note("left out 1 support object")
    assert notes == ["left out 1 support object"]
    with about("part.3mf"), pytest.warns(ReadNote, match="^part.3mf: left out 2$"):
        note("left out 2")
    with pytest.warns(ReadNote, match="^left out 3$"):
        note("left out 3")
