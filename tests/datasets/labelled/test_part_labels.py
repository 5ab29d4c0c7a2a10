"""Part labels: of files of clouds, of a folder of point files, and of procedural shapes."""

from pathlib import Path

import numpy as np
import pytest

from pointmae_zoo.datasets.labelled import LabelledClouds, open_labelled
from pointmae_zoo.datasets.labelled.part_labels import PartPoints, read_part_points
from pointmae_zoo.procedural.part_shapes import CLASSES, generate_with_parts, write_part_shapes
from pointmae_zoo.shapes.surface import MeshError


def cloud(count: int = 60, parts: tuple[int, ...] = (0, 1, 2), seed: int = 0) -> PartPoints:
    """Points whose part can be told from x alone: x lies within 0.4 of the part number."""
    rng = np.random.default_rng(seed)
    chosen = np.resize(np.array(parts), count)
    points = rng.uniform(-0.4, 0.4, size=(count, 3))
    points[:, 0] += chosen
    return PartPoints(points.astype(np.float32), chosen.astype(np.int64))


def as_text(path: Path, made: PartPoints, *, columns: int = 0) -> None:
    more = np.full((len(made.points), columns), 0.5)
    np.savetxt(path, np.column_stack([made.points, more, made.parts]), fmt="%.9g")


def as_ply(path: Path, made: PartPoints, name: str = "part", kind: str = "int") -> None:
    header = ["ply", "format ascii 1.0", f"element vertex {len(made.points)}"]
    header += [f"property float {axis}" for axis in "xyz"] + [f"property {kind} {name}", "end_header"]
    rows = [
        " ".join(map(repr, [*point.tolist(), part]))
        for point, part in zip(made.points, made.parts.tolist(), strict=True)
    ]
    path.write_text("\n".join(header + rows) + "\n", encoding="utf-8")


def as_npz(path: Path, made: PartPoints) -> None:
    np.savez(path, pos=made.points, label=made.parts[:, None].astype(np.uint8))


def as_pcd(path: Path, made: PartPoints) -> None:
    rows = np.zeros(len(made.points), dtype=[("xyz", "<f4", 3), ("label", "<u4")])
    rows["xyz"], rows["label"] = made.points, made.parts
    count = len(rows)
    header = f"FIELDS x y z label\nSIZE 4 4 4 4\nTYPE F F F U\nCOUNT 1 1 1 1\nWIDTH {count}\nHEIGHT 1\n"
    path.write_bytes(f"# .PCD v0.7\n{header}POINTS {count}\nDATA binary\n".encode() + rows.tobytes())


WRITERS = {
    "cloud.txt": as_text,
    "with normals.xyz": lambda path, made: as_text(path, made, columns=3),
    "cloud.ply": as_ply,
    "CloudCompare.ply": lambda path, made: as_ply(path, made, "scalar_Label", "double"),
    "cloud.npz": as_npz,
    "cloud.pcd": as_pcd,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_points_and_parts_in_their_order(name: str, tmp_path: Path) -> None:
    made = cloud()
    WRITERS[name](tmp_path / name, made)
    found = read_part_points(tmp_path / name)
    assert np.array_equal(found.parts, made.parts)
    assert np.allclose(found.points, made.points, atol=1e-6) and found.points.dtype == np.float32


def test_a_mesh_gives_its_vertices(tmp_path: Path) -> None:
    header = "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
    rows = "property int part\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n"
    (tmp_path / "mesh.ply").write_text(header + rows + "0 0 0 4\n1 0 0 4\n0 1 0 5\n3 0 1 2\n")
    assert read_part_points(tmp_path / "mesh.ply").parts.tolist() == [4, 4, 5]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "0 0 0\n1 1 1\n", "has three columns"),
        ("a.txt", "0 0 0 1.5\n1 1 1 0\n", "part numbers that are no whole numbers"),
        ("a.txt", "0 0 0 nan\n1 1 1 0\n", "part numbers that are no whole numbers"),
        ("a.txt", "0 0 0 -1\n1 1 1 0\n", "has part number -1: expected 0 to 1000"),
        ("a.txt", "0 0 0 123456\n1 1 1 0\n", "has part number 123456"),
        ("a.txt", "0 0 nan 1\n1 1 1 0\n", "NaN or infinity"),
        ("a.txt", "1 1 1 1\n1 1 1 0\n", "all its 2 points are equal"),
        ("a.txt", "", "is empty"),
        ("README.txt", "These are chairs.\n", "no rows of three numbers"),
        ("a.obj", "v 0 0 0\n", "expected one of .txt .xyz .ply .npz .pcd"),
        ("a.npz", "PK", "is not an NPZ file"),
        (
            "a.pcd",
            "FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 0\nDATA ascii\n",
            r"it has x, y, z\): expected",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(name: str, content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(MeshError, match=said):
        read_part_points(tmp_path / name)
    with pytest.raises(MeshError, match="cannot be read"):
        read_part_points(tmp_path / "none.txt")


def own(folder: Path, spans: dict[str, tuple[int, ...]], count: int = 60) -> Path:
    """For each class two files to train on and one to test on, in several formats."""
    for label, parts in spans.items():
        for number, split in enumerate(("train", "train", "test")):
            place = folder / split / label
            place.mkdir(parents=True, exist_ok=True)
            # The last one lacks the last part.
            made = cloud(count, parts[: len(parts) - (number == 2)], seed=number)
            name, write = list(WRITERS.items())[(number + len(label)) % len(WRITERS)]
            write(place / f"{number} {name}", made)
    return folder


def opened(folder: Path, split: str = "train", num_points: int = 32, **more: object) -> LabelledClouds:
    return open_labelled(
        folder,
        split,
        num_points=num_points,
        with_parts=True,
        progress=False,
        **more,  # type: ignore[arg-type]
    )


def parts_from_x(found: LabelledClouds) -> np.ndarray:
    return np.round(found.points[..., 0]).astype(int)


def test_parts_counted_within_classes_are_counted_through_all(tmp_path: Path) -> None:
    folder = own(tmp_path, {"chair": (0, 1, 2), "mug": (0, 1)})
    train, test = opened(folder), opened(folder, "test")
    for found in (train, test):
        assert found.parts == (range(0, 3), range(3, 5))
        assert found.part_names == ("chair/0", "chair/1", "chair/2", "mug/0", "mug/1")
        expected = parts_from_x(found) + np.array([0, 3])[found.labels][:, None]
        assert np.array_equal(found.part_labels, expected)
    assert len(train) == 4 and len(test) == 2 and train.points.shape == (4, 32, 3)


@pytest.mark.parametrize(
    "spans", [{"chair": (1, 2, 3), "mug": (1, 2)}, {"chair": (12, 13, 14), "mug": (15, 16)}]
)
def test_parts_counted_from_one_or_through_all_classes(spans: dict, tmp_path: Path) -> None:
    found = opened(own(tmp_path, spans))
    assert found.parts == (range(0, 3), range(3, 5))
    lowest = np.array([spans["chair"][0], spans["mug"][0] - 3])[found.labels]
    assert np.array_equal(found.part_labels, parts_from_x(found) - lowest[:, None])


def test_names_of_parts(tmp_path: Path) -> None:
    folder = own(tmp_path, {"chair": (1, 2), "mug": (4, 5)})
    (folder / "parts.yaml").write_text("chair: [seat, back, leg]\nmug: [body, handle]\n")
    found = opened(folder)
    assert found.part_names == ("chair/seat", "chair/back", "chair/leg", "mug/body", "mug/handle")
    # All of a chair's numbers fit its three names as they are; a mug's are counted on from the chair's.
    expected = parts_from_x(found) + np.array([0, 3 - 4])[found.labels][:, None]
    assert np.array_equal(found.part_labels, expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chair: [seat]\n", r"chair has parts 0 to 2, but 1 are named"),
        ("stool: [seat, leg]\n", r"'stool' are named, but it is no class \(known: chair, mug\)"),
        ("chair: seat\n", "expected a list of names such as"),
        ("chair: [1, 2, 3]\n", "expected a list of names such as"),
        ("chair: [a, a, b]\n", "chair has a name twice"),
        ("chair: [a\n", "not names of parts in YAML"),
    ],
)
def test_what_is_wrong_with_names_is_said(text: str, said: str, tmp_path: Path) -> None:
    folder = own(tmp_path, {"chair": (0, 1, 2), "mug": (0, 1)})
    (folder / "parts.yaml").write_text(text)
    with pytest.raises(ValueError, match=said):
        opened(folder)


def test_one_class_small_clouds_and_files_without_parts(tmp_path: Path) -> None:
    folder = own(tmp_path, {"chair": (0, 1, 2)}, count=20)
    (folder / "train" / "chair" / "notes.txt").write_text("not points\n")
    found = opened(folder)
    assert found.points.shape == (2, 32, 3) and len(np.unique(found.points[0], axis=0)) == 20
    assert np.array_equal(found.part_labels, parts_from_x(found))
    assert [(Path(name).name, "no rows" in reason) for name, reason in found.skipped] == [("notes.txt", True)]
    assert opened(folder, num_points=10, most_points=64).points.shape == (2, 20, 3)


def test_a_cache_gives_the_same_until_a_file_changes(tmp_path: Path) -> None:
    folder = own(tmp_path / "own", {"chair": (0, 1, 2), "mug": (0, 1)})
    (folder / "train" / "mug" / "notes.txt").write_text("not points\n")
    plain = opened(folder)
    for _ in range(2):
        kept = opened(folder, cache=tmp_path / "cache")
        assert np.array_equal(kept.points, plain.points) and kept.skipped == plain.skipped
        assert kept.part_labels is not None and plain.part_labels is not None
        assert np.array_equal(kept.part_labels, plain.part_labels) and kept.parts == plain.parts
    (written,) = (tmp_path / "cache").glob("labelled-parts-*.npz")
    written.write_bytes(written.read_bytes()[:1000])
    assert opened(folder, cache=tmp_path / "cache").sha256 == plain.sha256
    as_text(folder / "train" / "mug" / "notes.txt", cloud(parts=(0, 1, 2)))
    changed = opened(folder, cache=tmp_path / "cache")
    assert len(changed) == len(plain) + 1 and changed.parts[1] == range(3, 6)


def shapes(folder: Path) -> Path:
    write_part_shapes(folder / "shapes.npz", train=12, test=6, num_points=128, progress=False)
    return folder / "shapes.npz"


def test_parts_of_a_file_of_clouds(tmp_path: Path) -> None:
    path = shapes(tmp_path)
    for split, first, count in (("train", 0, 12), ("test", 12, 6)):
        found = open_labelled(path, split, num_points=100, with_parts=True)  # type: ignore[arg-type]
        assert found.classes == tuple(CLASSES) and len(found) == count
        assert found.part_names == tuple(f"{name}/{part}" for name in CLASSES for part in CLASSES[name])
        for row in range(count):
            made = generate_with_parts(0, 128, index=first + row)
            assert found.labels[row] == made.label
            assert np.abs(found.points[row] - made.points[:100]).max() < 1e-4
            assert np.array_equal(found.part_labels[row], made.parts[:100])  # type: ignore[index]
    assert open_labelled(path, "train", num_points=100).part_labels is None


def test_parts_of_chosen_classes_are_counted_anew(tmp_path: Path) -> None:
    path = shapes(tmp_path)
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["core_classes"] = np.array(["mug", "airplane"])
    for names in (arrays["part_names"], None):
        stored = {key: value for key, value in arrays.items() if key != "part_names"}
        np.savez(path, **stored, **({} if names is None else {"part_names": names}))
        found = open_labelled(path, "train", num_points=128, with_parts=True)
        assert found.parts[0] == range(0, 2) and found.part_names[0] == (
            "mug/body" if names is not None else "mug/0"
        )
        offset = np.array([-14, 2])  # a mug's parts are 14 and 15 of all, an airplane's 0 to 3
        rows = np.flatnonzero(np.isin(arrays["y"], (4, 0)) & (arrays["split"] == "train"))
        expected = arrays["parts"][rows].astype(int) + offset[found.labels][:, None]
        assert np.array_equal(found.part_labels, expected)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "parts",
            np.zeros((18, 5), int),
            r"'parts' is int64 of shape \(18, 5\), expected whole numbers \(18, 128\)",
        ),
        ("parts", np.zeros((18, 128)), "'parts' is float64"),
        ("parts", np.full((18, 128), -1), "'parts' holds -1"),
        ("parts", np.full((18, 128), 17), "cloud 0 has parts that are not those of its class"),
        ("part_names", np.array(["airplane/a", "body"]), "part 1 is named 'body', expected CLASS/PART"),
        ("part_names", np.array(["airplane/a", "car/b"]), "no part of class 'chair'"),
        (
            "part_names",
            np.array([f"{name}/x" for name in (*CLASSES, "airplane")]),
            "parts of 'airplane' in several places",
        ),
    ],
)
def test_what_is_wrong_with_parts_of_a_file_is_said(
    key: str, value: np.ndarray, said: str, tmp_path: Path
) -> None:
    path = shapes(tmp_path)
    with np.load(path) as archive:
        np.savez(path, **{**dict(archive), key: value})
    with pytest.raises(ValueError, match=said):
        open_labelled(path, "train", num_points=100, with_parts=True)


def test_procedural_shapes_show_every_part_they_have() -> None:
    starts = np.cumsum([0, *(len(parts) for parts in CLASSES.values())])
    seen = np.zeros(starts[-1], dtype=int)
    for index in range(120):
        made = generate_with_parts(1, 256, index=index)
        assert made.points.shape == (256, 3) and made.points.dtype == np.float32
        assert (
            np.abs(made.points.mean(0)).max() < 1e-5 and 0.99 < np.linalg.norm(made.points, axis=1).max() <= 1
        )
        assert starts[made.label] <= made.parts.min() and made.parts.max() < starts[made.label + 1]
        seen += np.bincount(made.parts, minlength=len(seen)) > 0
    assert (seen <= 20).all()
    optional = {starts[0] + 3, starts[2] + 3}  # an airplane's engines, a chair's arms
    for part, count in enumerate(seen):
        assert 5 <= count < 20 if part in optional else count == 20


def test_procedural_parts_lie_where_their_names_say() -> None:
    classes = list(CLASSES)
    for index in range(60):
        made = generate_with_parts(2, 512, index=index)
        names = list(CLASSES[classes[made.label]])
        first = made.parts - sum(len(CLASSES[name]) for name in classes[: made.label])
        middle = {name: made.points[first == k].mean(0) for k, name in enumerate(names) if (first == k).any()}
        match classes[made.label]:
            case "table":
                assert middle["top"][1] > middle["leg"][1]
            case "chair":
                assert middle["back"][1] > middle["seat"][1] > middle["leg"][1]
                assert middle["back"][2] < middle["seat"][2]
            case "lamp":
                assert middle["shade"][1] > middle["pole"][1] > middle["base"][1]
            case "mug":
                assert middle["handle"][0] > middle["body"][0] + 0.2
            case "car":
                assert middle["cabin"][1] > middle["body"][1] > middle["wheel"][1]
            case "airplane":
                assert middle["tail"][2] < middle["body"][2]
                wing = made.points[first == names.index("wing")]
                assert np.ptp(wing[:, 0]) > np.ptp(made.points[first == 0][:, 0])


def test_a_procedural_shape_depends_on_seed_and_index_alone() -> None:
    first, again, other = (generate_with_parts(seed, 64, index=7) for seed in (0, 0, 1))
    assert np.array_equal(first.points, again.points) and np.array_equal(first.parts, again.parts)
    assert not np.array_equal(first.points, other.points)
    for arguments, field in (((-1, 64), "seed"), ((0, 1), "num_points")):
        with pytest.raises(ValueError, match=field):
            generate_with_parts(*arguments)
    with pytest.raises(ValueError, match="train 3, test 6"):
        write_part_shapes("unused.npz", train=3, test=6)
