"""Files with random damage: points or one line, whatever is in them. The seeds are kept."""

import random
from pathlib import Path

import numpy as np
import pytest

from pointmae_zoo.shapes.notes import collecting
from pointmae_zoo.shapes.read import MeshError, read_format
from pointmae_zoo.shapes.surface import points_of
from samples.geometry import SQUARE
from samples.meshes import CLOUD, npy_bytes, npz_bytes, off, pcd_header, ply_bytes, stl_bytes

HALVES = np.array(SQUARE, float)[[[0, 1, 2], [0, 2, 3]]]
ROWS = [" ".join(map(str, corner)) for corner in SQUARE]
WORDS = [
    b" ",
    b"\n",
    b"\r",
    b"\t",
    b",",
    b";",
    b"#",
    b"\\\n",
    b"-",
    b"-1",
    b"0",
    b"1e999",
    b"nan",
    b"4294967295",
    b"99999999999999999999",
    b"\0",
    b"\xff\xfe",
    b"f ",
    b"v ",
    b"vertex ",
    b"endfacet",
    b"1,5",
    b"1.5D+03",
    b"_",
    b"e",
    b"/",
    b"\xe2\x88\x92",
    b"element vertex 99999999999\n",
    b"OFF",
    b"DATA ascii\n",
    b"COUNT 0 1 1\n",
]


def whole_files(folder: Path) -> dict[str, list[bytes]]:
    """Sound files of every format."""
    obj = "".join(f"v {row}\n" for row in ROWS) + "usemtl a\nf 1 2 \\\n3 4\nf -4/1/1 -3//2 -2\n"
    facets = [
        "facet normal 0 0 1\nouter loop\n"
        + "".join(f"vertex {x} {y} {z}\n" for x, y, z in half)
        + "endloop\nendfacet\n"
        for half in HALVES
    ]
    pcd_rows = "".join(f"0 0 1 5 6 {x} {y} {z} 0\n" for x, y, z in CLOUD)
    return {
        ".obj": [obj.encode(), obj.encode("utf-16")],
        ".stl": [stl_bytes(HALVES), ("solid a\n" + "".join(facets) + "endsolid a\n").encode()],
        ".off": [
            off("OFF", "4 2 0", *ROWS, "3 0 1 2 9 9 9", "3 0 2 3"),
            off("OFF 4 1 0", *ROWS, "4 0 1 2 3"),
        ],
        ".ply": [ply_bytes("<", [(0, 1, 2), (0, 1, 2, 3)]), ply_bytes(">", [(0, 1, 2)])],
        ".xyz": ["\n".join(["x y z", *ROWS]).encode(), "\n".join(ROWS).replace(" ", ",").encode()],
        ".pcd": [pcd_header("ascii") + pcd_rows.encode(), pcd_header("binary") + bytes(312)],
        ".npy": [npy_bytes(folder, CLOUD), npy_bytes(folder, np.asfortranarray(CLOUD, ">f8"))],
        ".npz": [npz_bytes(folder, points=CLOUD, label=np.arange(8))],
    }


def damaged(data: bytes, draws: random.Random) -> bytes:
    """The file with one to four bytes or words put in, replaced or taken out, or cut off."""
    content = bytearray(data)
    for _ in range(draws.choice([1, 1, 2, 4])):
        start = draws.randrange(len(content) + 1)
        end = min(len(content), start + draws.choice([1, 1, 4, 40]))
        kind = draws.randrange(6)
        if kind < 2:
            content[start:start] = draws.choice(WORDS)
        elif kind == 2:
            content[start:end] = draws.choice(WORDS)
        elif kind == 3:
            content[start:end] = b""
        elif kind == 4 and start < len(content):
            content[start] = draws.randrange(256)
        else:
            del content[start:]
    return bytes(content)


@pytest.mark.parametrize("suffix", [".obj", ".stl", ".off", ".ply", ".xyz", ".pcd", ".npy", ".npz"])
def test_points_or_one_line(tmp_path: Path, suffix: str) -> None:
    files = whole_files(tmp_path)[suffix]
    path = Path("a" + suffix)
    refused = 0
    for seed in range(300):
        draws = random.Random(seed)
        data = damaged(draws.choice(files), draws)
        if not data:
            continue
        try:
            with np.errstate(all="ignore"), collecting():
                points = points_of(read_format(suffix, data, path), 64, 0)
        except MeshError as error:
            assert "\n" not in str(error) and len(error.reason) < 300
            refused += 1
        else:
            assert points.dtype == np.float32 and points.shape[1] == 3 and np.isfinite(points).all()
    assert 10 < refused < 300
