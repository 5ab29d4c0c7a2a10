"""Damaged files of every format: points, or one line that says why not. Never a traceback, a hang or noise.

A few hundred run with the suite. For more, by format, with counts of what happened:

    python tests/shapes/test_fuzz.py 10000 [SUFFIX ...]
"""

import random
import re
import struct
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pointmae_zoo.shapes.read import MeshError, read_points
from pointmae_zoo.shapes.reader_pool import ReaderPool
from pointmae_zoo.shapes.suffixes import SUPPORTED_SUFFIXES

MESHES = Path(__file__).resolve().parents[2] / "examples" / "meshes"
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
ODD_NUMBERS = (b"0", b"-1", b"1e400", b"nan", b"4294967295", b"1.5D+03", b"1,5", b"99999999999", b"", b"-0")
ODD_BYTES = (b"\x00", b"\xff", b"\n", b"\r", b"\t", b" ", b"\\\n", b"#", b'"', b"{", b"<", b"\xef\xbb\xbf")
SECONDS = 20.0


def originals() -> dict[str, list[bytes]]:
    """Healthy small files by suffix: the examples, and point files made here."""
    found: dict[str, list[bytes]] = {suffix: [] for suffix in SUPPORTED_SUFFIXES}
    for file in sorted(MESHES.iterdir()):
        if file.suffix in found and file.stat().st_size < 200_000:
            found[file.suffix].append(file.read_bytes())
    points = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    text = "\n".join("{:.4f} {:.4f} {:.4f}".format(*row) for row in points).encode()
    triangles = points.reshape(20, 3, 3)
    facets = "".join(
        "facet normal 0 0 0\nouter loop\n"
        + "".join("vertex {} {} {}\n".format(*corner) for corner in triangle)
        + "endloop\nendfacet\n"
        for triangle in triangles
    )
    found[".stl"].append(f"solid made\n{facets}endsolid made\n".encode())
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "a.npy", points)
        np.savez(Path(folder) / "a.npz", points=points)
        found[".npy"].append((Path(folder) / "a.npy").read_bytes())
        found[".npz"].append((Path(folder) / "a.npz").read_bytes())
    header = "VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 60\nHEIGHT 1\nPOINTS 60\n"
    found[".pcd"] += [
        f"{header}DATA ascii\n".encode() + text,
        f"{header}DATA binary\n".encode() + points.tobytes(),
    ]
    for suffix in (".xyz", ".txt", ".pts", ".asc", ".csv"):
        if suffix in found:
            found[suffix].append(text)
    return {suffix: files for suffix, files in found.items() if files}


def mutated(data: bytes, draw: random.Random) -> bytes:
    """One to four faults of the kinds that happen to files."""
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(data)) if data else 0
        kind = draw.randrange(9)
        if kind == 0:  # cut off
            data = data[:at]
        elif kind == 1:  # bytes lost
            data = data[:at] + data[at + draw.randint(1, 40) :]
        elif kind == 2:  # bits turned over
            data = data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :] if data else data
        elif kind == 3:  # something odd between
            data = data[:at] + draw.choice(ODD_BYTES) + data[at:]
        elif kind == 4:  # a piece twice
            data = data[:at] + data[at : at + draw.randint(1, 200)] * 2 + data[at:]
        elif kind == 5 and (numbers := list(NUMBER.finditer(data))):  # another number
            number = draw.choice(numbers)
            data = data[: number.start()] + draw.choice(ODD_NUMBERS) + data[number.end() :]
        elif kind == 6:  # a count, or an index, of another size
            value = draw.choice((0, 1, 255, 65535, 2**31 - 1, 2**32 - 1, draw.randrange(2**32)))
            data = data[:at] + struct.pack("<I", value) + data[at + 4 :]
        elif kind == 7:  # two lines exchanged
            lines = data.split(b"\n")
            one, two = draw.randrange(len(lines)), draw.randrange(len(lines))
            lines[one], lines[two] = lines[two], lines[one]
            data = b"\n".join(lines)
        else:  # line ends of another system
            data = data.replace(b"\n", draw.choice((b"\r\n", b"\r")))
    return data


def check(points: np.ndarray) -> None:
    """What every caller may rely on."""
    assert points.dtype == np.float32 and points.ndim == 2 and points.shape[1] == 3
    assert np.isfinite(points).all() and len(np.unique(points, axis=0)) >= 2


@pytest.mark.parametrize("suffix", sorted(originals()))
def test_damaged_files_give_points_or_a_reason(suffix: str, tmp_path: Path) -> None:
    files = originals()[suffix]
    read = 0
    for seed in range(40):
        draw = random.Random(f"{suffix} {seed}")
        file = tmp_path / f"{seed}{suffix}"
        file.write_bytes(mutated(draw.choice(files), draw))
        try:
            check(read_points(file, 64))
            read += 1
        except MeshError as error:
            assert "\n" not in str(error) and error.reason and str(file) in str(error), seed
    assert read < 40  # some of them are truly damaged


def main() -> None:
    count, suffixes = int(sys.argv[1]), sys.argv[2:] or sorted(originals())
    for suffix in suffixes:
        files, said = originals()[suffix], Counter()
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for seed in range(count):
                draw = random.Random(f"{suffix} {seed}")
                paths.append(Path(folder) / f"{seed}{suffix}")
                paths[-1].write_bytes(mutated(draw.choice(files), draw))
            with ReaderPool(2, timeout=SECONDS, memory_limit_gb=2.0) as pool:
                for path, reading in zip(paths, pool.read(paths, 64, 0), strict=True):
                    if reading.points is None:
                        bad = re.search(r"took longer|memory|crashed|Error\b", reading.reason)
                        said[f"refused{': ' + bad[0] if bad else ''}"] += 1
                        if bad:
                            print(path.name, reading.reason[:160])
                    else:
                        check(reading.points)
                        said["points"] += 1
        print(suffix, dict(said), flush=True)


if __name__ == "__main__":
    main()
