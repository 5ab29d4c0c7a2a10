"""Procedural shapes: what may hide what, evenness, cuts, warps, repeatability, variety."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pointmae_zoo import procedural
from pointmae_zoo.procedural import generator, primitives
from pointmae_zoo.procedural.bricks import (
    Dice,
    arch,
    beam,
    blob,
    flat,
    gable,
    gear,
    helix,
    profile,
    shell,
    solid,
    star,
    turned,
    wedge,
)
from pointmae_zoo.procedural.constructive_geometry import FORWARD, Assembly, aim, sample, turn_y, turn_z


def contains(primitive: primitives.Primitive, points: np.ndarray) -> np.ndarray:
    boxed = ((points > primitive.low) & (points < primitive.high)).all(1)
    if primitive.inside is not None:
        boxed[boxed] = primitive.inside(points[boxed])
    return boxed


def rays_say_inside(primitive: primitives.Primitive, points: np.ndarray) -> np.ndarray:
    """Whether an odd number of triangles lies on a slanted ray from each point: knows triangles only."""
    towards = np.array([0.31, 0.87, 0.29])
    a, b, c = (primitive.triangles[:, k] for k in range(3))
    e1, e2 = b - a, c - a
    h = np.cross(towards, e2)
    det = (e1 * h).sum(1)
    usable = np.abs(det) > 1e-12
    a, e1, e2, h, det = a[usable], e1[usable], e2[usable], h[usable], det[usable]
    s = points[:, None] - a
    u = np.einsum("mfk,fk->mf", s, h) / det
    q = np.cross(s, e1)
    v = q @ towards / det
    t = np.einsum("mfk,fk->mf", q, e2) / det
    return ((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)).sum(1) % 2 == 1


SQUARE = np.array([(0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5)])
PRIMITIVES = {
    "box": primitives.BOX,
    "cylinder": primitives.cylinder(7, 0.6),
    "cone": primitives.cylinder(5, 0.0),
    "pyramid": primitives.frustum(0.0),
    "sphere": primitives.sphere(9, 6),
    "dome": primitives.dome(10, 4),
    "torus": primitives.torus(0.3, 9, 6),
    "capsule": primitives.capsule(2.0, 8),
    "turned profile": turned(profile(Dice("a")), 11),
    "vessel": shell(np.array([(0.3, 0.0), (0.5, 0.4), (0.35, 1.0)]), 0.05, 12),
    "star": primitives.extrude(primitives.fan(star(5, 0.4)), taper=0.5),
    "gear": primitives.extrude(primitives.fan(gear(8, 0.7))),
    "blob": primitives.extrude(primitives.fan(blob(Dice("b")))),
    "arch": primitives.extrude(arch(0.6)),
    "frame": primitives.extrude(primitives.strip(SQUARE, SQUARE * 0.6, closed=True)),
    "wedge": wedge(),
    "level wedge": wedge(0.3),
    "gable": gable(),
    "polygon": primitives.extrude(primitives.convex([(0, 0), (2, 0), (2, 1), (1, 2)])),
    **{f"beam {k}": primitives.extrude(beam(Dice(f"{k}"))) for k in range(12)},
    **{f"flat {k}": primitives.extrude(flat(Dice(f"{k}"))) for k in range(12)},
}


@pytest.mark.parametrize("name", PRIMITIVES)
def test_inside_agrees_with_counting_crossed_triangles(name: str) -> None:
    primitive = PRIMITIVES[name]
    size = primitive.high - primitive.low
    points = np.random.default_rng(0).uniform(
        primitive.low - 0.1 * size, primitive.high + 0.1 * size, (1500, 3)
    )
    expected = rays_say_inside(primitive, points)
    assert 0.02 < expected.mean() < 0.98
    assert (contains(primitive, points) == expected).mean() > 0.998  # a ray may graze an edge


@pytest.mark.parametrize("name", PRIMITIVES)
def test_triangles_enclose_the_volume_that_is_inside(name: str) -> None:
    """The divergence theorem on the triangles: right only if closed, and counterclockwise from outside."""
    primitive = PRIMITIVES[name]
    a, b, c = (primitive.triangles[:, k] for k in range(3))
    np.testing.assert_allclose(np.cross(b - a, c - a).sum(0), 0, atol=1e-9)
    volume = (np.cross(a, b) * c).sum() / 6
    size = primitive.high - primitive.low
    points = np.random.default_rng(0).uniform(primitive.low, primitive.high, (40000, 3))
    assert volume == pytest.approx(contains(primitive, points).mean() * size.prod(), rel=0.05)


def test_tube_inside_lies_within_its_surface() -> None:
    for line, across in (
        (helix(2, 0.4, 1.0, 40), (0, 1, 0)),
        (np.stack([np.linspace(0, 1, 9), np.linspace(0, 1, 9) ** 2, np.zeros(9)], 1), (0, 0, 1)),
    ):
        tube = primitives.tube(line, 0.06, 8, across=across)
        points = np.random.default_rng(1).uniform(tube.low, tube.high, (4000, 3))
        mine, truth = contains(tube, points), rays_say_inside(tube, points)
        a, b, c = tube.triangles.transpose(1, 0, 2)
        volume = (np.cross(a, b) * c).sum() / 6
        octagon = 4 * np.sin(np.pi / 4) * 0.06**2
        assert volume == pytest.approx(
            octagon * np.linalg.norm(np.diff(line, axis=0), axis=1).sum(), rel=0.05
        )
        assert mine.sum() > 20
        assert (truth[mine]).mean() > 0.97
        assert mine.sum() > 0.75 * truth.sum()


def test_a_box_is_sampled_in_proportion_to_its_faces() -> None:
    size = np.array([1.0, 2.0, 3.0])
    points = sample(Assembly().box((0, 0, 0), size), 60000, np.random.default_rng(0))
    assert points is not None
    face = np.abs(np.abs(points) / (size / 2) - 1).argmin(1)
    area = np.array([6.0, 3.0, 2.0])  # pairs of faces across x, y, z, halved
    np.testing.assert_allclose(np.bincount(face) / len(points), area / area.sum(), atol=0.01)
    within = np.delete(points[face == 0], 0, axis=1) / size[1:]  # even within a face: mean 0, variance 1/12
    np.testing.assert_allclose(within.mean(0), 0, atol=0.01)
    np.testing.assert_allclose((within**2).mean(0), 1 / 12, atol=0.003)


def test_a_cone_is_sampled_in_proportion_to_base_and_side() -> None:
    points = sample(Assembly().add(primitives.cylinder(256, 0.0)), 60000, np.random.default_rng(0))
    assert points is not None
    base, side = np.pi * 0.25, np.pi * 0.5 * np.sqrt(1.25)
    assert abs((points[:, 1] < -0.4999).mean() - base / (base + side)) < 0.01


def test_union_hides_what_lies_inside_another_part() -> None:
    ball, box = primitives.sphere(48, 32), np.array([1.0, 1.0, 1.0])
    a = Assembly().box((0, 0, 0), box).add(ball, (0.5, 0, 0))
    points = sample(a, 40000, np.random.default_rng(0))
    assert points is not None
    in_box = (np.abs(points) < 0.499).all(1)
    in_ball = np.linalg.norm(points - (0.5, 0, 0), axis=1) < 0.495
    assert not in_box.any()
    assert not in_ball.any()
    half_ball, holed_box = 2 * np.pi * 0.25, 6 - np.pi * 0.25  # the analytic areas of what remains
    on_ball = np.abs(np.linalg.norm(points - (0.5, 0, 0), axis=1) - 0.5) < 0.01
    assert abs(on_ball.mean() - half_ball / (half_ball + holed_box)) < 0.02
    everything = sample(a, 40000, np.random.default_rng(0), union=False)
    assert everything is not None
    assert ((np.abs(everything) < 0.499).all(1)).mean() > 0.1


def test_turned_and_stretched_copies_hide_too() -> None:
    inner = Assembly().add(primitives.cylinder(12), size=(0.2, 0.2, 0.2), turn=FORWARD)
    a = Assembly().ring(inner, 5, 0.3).box((0, 0, 0), (2, 1, 2), turn_y(0.4))
    points = sample(a, 3000, np.random.default_rng(0))
    assert points is not None
    back = points @ turn_y(0.4)
    assert np.isclose(np.abs(back / (2, 1, 2)).max(1), 0.5, atol=1e-6).all()


def test_parts_that_touch_hide_nothing() -> None:
    a = Assembly().box((0, 0, 0), (1, 1, 1)).box((0, 1, 0), (1, 1, 1))
    points = sample(a, 20000, np.random.default_rng(0))
    assert points is not None
    assert abs((np.abs(points[:, 1] - 0.5) < 1e-6).mean() - 2 / 12) < 0.01


def test_a_cut_removes_and_shows_its_own_wall() -> None:
    drilled = Assembly().box((0, 0, 0), (2, 1, 2)).add(primitives.cylinder(64), size=(1, 3, 1), cut=True)
    points = sample(drilled, 40000, np.random.default_rng(0))
    assert points is not None
    radius = np.hypot(points[:, 0], points[:, 2])
    assert radius.min() > 0.49
    assert np.abs(points[:, 1]).max() <= 0.5 + 1e-9  # nothing of the cutter outside the box
    wall, outside = np.pi, 2 * (4 - np.pi * 0.25) + 8
    assert abs((radius < 0.5001).mean() - wall / (wall + outside)) < 0.01
    refilled = drilled.add(primitives.cylinder(8), size=(0.2, 1, 0.2))  # what comes later stands in the hole
    points = sample(refilled, 4000, np.random.default_rng(0))
    assert points is not None
    assert np.hypot(points[:, 0], points[:, 2]).min() < 0.15


def test_nothing_left_is_said() -> None:
    gone = Assembly().box((0, 0, 0), (1, 1, 1)).box((0, 0, 0), (2, 2, 2), cut=True)
    assert sample(gone, 100, np.random.default_rng(0)) is None


def test_points_stay_even_on_a_warped_surface() -> None:
    """A flat sheet stretched by x -> x + x^2 / 4: even in the stretched coordinate, not in the first."""
    sheet = Assembly().box((0, 0, 0), (2, 1e-6, 1))

    def warp(points: np.ndarray) -> np.ndarray:
        out = points.copy()
        out[:, 0] += points[:, 0] ** 2 / 4
        return out

    points = sample(sheet, 60000, np.random.default_rng(0), warp=warp)
    assert points is not None
    share, _ = np.histogram(points[:, 0], np.linspace(-0.75, 1.25, 11))
    np.testing.assert_allclose(share / len(points), 0.1, atol=0.008)


def test_mirror_ring_row_and_aim_put_parts_where_they_say() -> None:
    dot = Assembly().add(primitives.BOX, (1, 2, 3), 0.01)

    def middles(a: Assembly) -> list[tuple[float, ...]]:
        return sorted(tuple(np.round(o, 6)) for c in a.merged() for o in c.offsets)

    assert middles(Assembly().mirror(dot)) == [(-1, 2, 3), (1, 2, 3)]
    assert middles(Assembly().row(dot, 3, (0, 0, 1))) == [(1, 2, 3), (1, 2, 4), (1, 2, 5)]
    quarter = Assembly().ring(Assembly().add(primitives.BOX, size=0.1), 4, 2.0)
    assert middles(quarter) == [(-2, 0, 0), (0, 0, -2), (0, 0, 2), (2, 0, 0)]
    for way in ((0, 1, 0), (0, -1, 0), (1, 0, 0), (0.3, -0.5, 0.8)):
        turn = aim(way)
        np.testing.assert_allclose(turn @ [0, 1, 0], np.array(way) / np.linalg.norm(way), atol=1e-12)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) > 0
    assert Assembly().include(dot, turn=turn_z(np.pi / 2)).parts == 1


def test_triangles_of_an_assembly_face_outward_in_mirror_images_too() -> None:
    part = Assembly().add(primitives.cylinder(64, 0.0), (1, 0, 0), (1, 2, 3)).add(primitives.BOX, cut=True)
    a, b, c = Assembly().mirror(part).triangles().transpose(1, 0, 2)
    assert (np.cross(a, b) * c).sum() / 6 == pytest.approx(2 * np.pi * 0.25 * 6 / 3, rel=0.01)


@pytest.fixture(scope="module")
def many() -> np.ndarray:
    return procedural.generate_many(400, seed=11, num_points=512)


def test_shapes_are_finite_centred_and_in_the_unit_sphere(many: np.ndarray) -> None:
    assert many.shape == (400, 512, 3)
    assert many.dtype == np.float32
    assert np.isfinite(many).all()
    np.testing.assert_allclose(many.mean(1), 0, atol=1e-5)
    farthest = np.linalg.norm(many.astype(np.float64), axis=2).max(1)
    assert farthest.max() <= 1.0
    assert farthest.min() > 0.9999


def test_every_rule_gives_shapes() -> None:
    for rule in dict.fromkeys(generator._RULES):
        for seed in range(6):
            points = sample(rule(Dice(f"{seed}")), 64, np.random.default_rng(seed))
            assert points is None or np.isfinite(points).all(), rule.__name__
        assert any(sample(rule(Dice(f"{s}")), 64, np.random.default_rng(s)) is not None for s in range(6))
    for seed in range(30):
        assert np.isfinite(solid(Dice(f"{seed}")).triangles).all()


def test_shapes_are_various(many: np.ndarray) -> None:
    extents = many.max(1) - many.min(1)
    flatness = extents.min(1) / extents.max(1)
    assert np.quantile(flatness, 0.1) < 0.25 < 0.7 < np.quantile(flatness, 0.9)
    tallest = np.bincount(extents.argmax(1), minlength=3) / len(many)
    assert tallest.min() > 0.15  # x, y and z are each the longest side of many
    filling = np.linalg.norm(many, axis=2).mean(1)
    assert filling.std() > 0.05
    axes = np.stack([np.histogram(np.linalg.norm(c, axis=1), 16, (0, 1))[0] for c in many]) / 512
    gaps = np.abs(axes[:, None] - axes).sum(2) + 9 * np.eye(len(many))
    assert gaps.min(1).mean() > 0.1  # no shape repeated over and over


def test_a_shape_depends_on_seed_and_index_alone(many: np.ndarray) -> None:
    np.testing.assert_array_equal(procedural.generate(11, 512, index=7), many[7])
    np.testing.assert_array_equal(procedural.generate_many(9, seed=11, num_points=512), many[:9])
    np.testing.assert_array_equal(procedural.generate_many(70, seed=11, num_points=512, workers=2), many[:70])
    assert not np.array_equal(procedural.generate(12, 512, index=7), many[7])
    np.testing.assert_array_equal(procedural.generate(3), procedural.generate(3, 2048, index=0))


@pytest.mark.parametrize(("arguments", "field"), [((-1,), "seed"), ((0, 1), "num_points"), ((0.5,), "seed")])
def test_bad_arguments_are_named(arguments: tuple, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        procedural.generate(*arguments)


def test_how_many() -> None:
    assert procedural.generate_many(0, num_points=8).shape == (0, 8, 3)
    with pytest.raises(ValueError, match="count"):
        procedural.generate_many(-1)


def test_torch_is_not_imported() -> None:
    code = (
        "import sys; from pointmae_zoo.procedural import generate; "
        "generate(0, 64); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_shapes_in_order_from_anywhere() -> None:
    """What an interrupted cache goes on with, and stopping early ends the processes."""
    expected = [procedural.generate(4, 32, index=index) for index in range(130)]
    for workers in (1, 2):
        following = procedural.generate_in_order(3, 130, seed=4, num_points=32, workers=workers)
        np.testing.assert_array_equal(np.stack(list(following)), expected[3:])
        stopped = procedural.generate_in_order(100, 100_000, seed=4, num_points=32, workers=workers)
        np.testing.assert_array_equal(next(stopped), expected[100])
        stopped.close()


def test_processes_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/nowhere"])
    with pytest.raises(RuntimeError, match=r"makes procedural shapes ended early \(exit code 1\)"):
        list(procedural.generate_in_order(0, 9, seed=0, num_points=8, workers=2))


def test_several_processes_from_an_unguarded_script(tmp_path: Path) -> None:
    """Such as people write: it must not be run once more in every process."""
    script = tmp_path / "script.py"
    script.write_text(
        "from pointmae_zoo.procedural import generate_many\n"
        "print(generate_many(70, num_points=4, workers=2).shape)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "(70, 4, 3)\n"


def test_the_version_is_that_of_older_caches() -> None:
    """Rules that draw the same shapes as in 0.1 have its name, so that nobody makes 50,000 shapes again. When
    rules change, so do shapes, and this name: take the entry out of `_SAME_SHAPES`."""
    if sys.version_info[:2] == (3, 11):  # syntax trees are written otherwise in others
        assert procedural.version() == "7dac857449ac"
