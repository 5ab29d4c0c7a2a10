"""Test clouds that are turned, thinned, noisy or cut: what is changed, and nothing else."""

import numpy as np
import pytest

from pointmae_zoo.cli import build_app
from pointmae_zoo.evaluate import linear_probe
from pointmae_zoo.evaluate.robustness import KINDS, Change, change_clouds, changes

pytest.importorskip("sklearn")


def _clouds(count: int = 40, points: int = 96) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, points, 3)).astype(np.float32) * [1.0, 2.0, 0.5]


def _distances(points: np.ndarray) -> np.ndarray:
    """A feature that no rotation changes."""
    return np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)


def test_rotations_keep_what_rotations_keep_and_change_the_rest() -> None:
    points = _clouds()
    full = change_clouds(points, Change("rotation"), num_points=96)
    np.testing.assert_allclose(_distances(full), _distances(points), atol=1e-4)
    for axis, up in enumerate("xyz"):
        turned = change_clouds(points, Change("rotation about up"), num_points=96, up=up)
        np.testing.assert_allclose(turned[..., axis], points[..., axis], atol=1e-6)
        np.testing.assert_allclose(_distances(turned), _distances(points), atol=1e-4)
        # Of the same handedness, and each cloud by its own angle.
        moves = np.linalg.lstsq(points[0], turned[0], rcond=None)[0]
        assert np.linalg.det(moves) == pytest.approx(1.0, abs=1e-4)
        others = [other for other in range(3) if other != axis]
        angles = [
            np.arctan2(*np.linalg.lstsq(before, after, rcond=None)[0][others[0], others[::-1]])
            for before, after in zip(points, turned, strict=True)
        ]
        assert len(np.unique(np.round(angles, 3))) == len(points)
    # Uniform: a rotated axis points anywhere, so its mean is near 0 and no direction is preferred.
    many = np.tile(np.eye(3, dtype=np.float32), (4000, 1, 1))
    ends = change_clouds(many, Change("rotation"), num_points=3)
    assert np.abs(ends.mean(axis=0)).max() < 0.04
    np.testing.assert_allclose((ends[:, 0, :, None] * ends[:, 0, None]).mean(0), np.eye(3) / 3, atol=0.03)


def test_a_probe_on_invariant_features_does_not_notice_rotations() -> None:
    points = _clouds(120)
    labels = np.tile([0, 1], 60)
    points[labels == 1] *= [1.0, 0.6, 1.0]

    def features(clouds: np.ndarray) -> np.ndarray:
        away = np.linalg.norm(clouds - clouds.mean(axis=1, keepdims=True), axis=2)
        return np.quantile(away, np.linspace(0, 1, 8), axis=1).T

    test = points[80:]
    probe = linear_probe(
        features(points[:80]),
        labels[:80],
        np.arange(80),
        features(test),
        labels[80:],
        changed={
            one.name: features(change_clouds(test, one, num_points=96))
            for one in (Change("rotation"), Change("rotation about up"), Change("missing side", 0.6))
        },
    )
    assert probe.test_accuracy is not None and probe.test_accuracy > 80
    assert probe.changed["rotation"] == probe.changed["rotation about up"] == probe.test_accuracy
    assert probe.changed["missing side 60 %"] < probe.test_accuracy


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_missing_parts_are_exactly_the_share_and_lie_together(share: float) -> None:
    points = _clouds()
    removed = round(share * 80)
    for kind in ("missing ball", "missing side"):
        kept = change_clouds(points, Change(kind, share), num_points=80)  # type: ignore[arg-type]
        assert kept.shape == (40, 80 - removed, 3)
        for before, after in zip(points[:, :80], kept, strict=True):
            rows = {point.tobytes(): row for row, point in enumerate(before)}
            order = [rows[point.tobytes()] for point in after]
            assert order == sorted(order)  # the rest is as it was
            gone = before[np.setdiff1d(np.arange(80), order)]
            assert len(gone) == removed
            if kind == "missing ball":
                # One of the removed points is the middle of a ball that holds them all and no other point.
                radii = np.linalg.norm(gone[:, None] - gone[None], axis=2).max(axis=1)
                nearest = np.linalg.norm(gone[:, None] - after[None], axis=2).min(axis=1)
                assert (radii <= nearest + 1e-6).any()
            else:
                assert _separable(gone, after)


def _separable(one: np.ndarray, other: np.ndarray) -> bool:
    from sklearn.svm import SVC

    points, side = np.concatenate([one, other]), np.repeat([0, 1], [len(one), len(other)])
    return bool((SVC(kernel="linear", C=1e6).fit(points, side).predict(points) == side).all())


def test_points_and_noise() -> None:
    points = _clouds()
    fewer = change_clouds(points, Change("points", 32), num_points=64)
    np.testing.assert_array_equal(fewer, points[:, :32])
    noisy = change_clouds(points, Change("noise", 0.05), num_points=64)
    radius = np.linalg.norm(points[:, :64] - points[:, :64].mean(1, keepdims=True), axis=2).max(axis=1)
    ratio = (noisy - points[:, :64]) / radius[:, None, None]
    assert ratio.std() == pytest.approx(0.05, rel=0.05) and abs(ratio.mean()) < 0.003
    again = change_clouds(points, Change("noise", 0.05), num_points=64)
    np.testing.assert_array_equal(noisy, again)
    with pytest.raises(ValueError, match="128 points asked for, but the clouds have 96"):
        change_clouds(points, Change("points", 128), num_points=64)
    with pytest.raises(ValueError, match="share"):
        change_clouds(points, Change("missing ball", 1.0), num_points=64)


def test_only_counts_that_the_file_has_are_tried() -> None:
    counts = [one.amount for one in changes(available=2048, num_points=1024) if one.kind == "points"]
    assert counts == [256, 512, 2048]
    names = [one.name for one in changes(available=4096, num_points=2048)]
    assert len(set(names)) == len(names) and "4096 points" in names and "2048 points" not in names


def test_the_command_knows_every_condition() -> None:
    given = [kind.replace(" ", "-") for kind in KINDS]
    words = ["evaluate", "robustness", "m", "--data", "d", "--conditions", *given]
    _, parsed, _ = build_app().parse_args(words)
    assert parsed.arguments["settings"]["conditions"] == given
