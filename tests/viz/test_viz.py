"""Pictures: which way things lie, what hides what, files that appear whole, errors for people."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pointmae_zoo import create_model, ops, viz
from pointmae_zoo.models.i2p_mae import I2PMAEForPretraining
from pointmae_zoo.models.joint_mae import JointMAEForPretraining
from pointmae_zoo.models.joint_mae.joint_preview import draw_points, image_columns, view_direction
from pointmae_zoo.models.pretraining_model import TeacherViews
from pointmae_zoo.viz.rendering import _view, paint

RED, BLUE = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9)


def sheet(towards: str, at: float, half: float = 0.5) -> np.ndarray:
    """A square grid of points (1600, 3) across an axis."""
    u, v = (c.ravel() for c in np.meshgrid(*[np.linspace(-half, half, 40)] * 2))
    axis = "xyz".index(towards)
    return np.insert(np.stack([u, v], 1), axis, at, axis=1)


def image(points: np.ndarray, colours: np.ndarray | None = None, **view: float) -> np.ndarray:
    """The picture (H, W, 3) of draw_cloud on an axis that fills a figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 2), dpi=100)
    canvas = FigureCanvasAgg(figure)
    viz.draw_cloud(figure.add_axes((0, 0, 1, 1)), points, colours=colours, **view)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3] / 255


def middle(painted: np.ndarray) -> np.ndarray:
    """Row and column (2,) of the centre of what is not white."""
    return np.argwhere(painted.min(2) < 0.95).mean(0)


@pytest.mark.parametrize(
    ("place", "view", "expected"),
    [
        ((0, 1, 0), {"azimuth": 0, "elevation": 0}, (0, 0.5)),  # y is up
        ((1, 0, 0), {"azimuth": 0, "elevation": 0}, (0.5, 1)),  # seen from +z, x is to the right
        ((0, 0, 1), {"azimuth": 0, "elevation": 60}, (1, 0.5)),  # seen from above, what is near is low
        ((0, 0, 1), {"azimuth": 60, "elevation": 0}, (0.5, 0)),  # from the right, what was in front is left
    ],
)
def test_directions(place: tuple[float, ...], view: dict[str, float], expected: tuple[float, float]) -> None:
    ball = np.random.default_rng(0).normal(size=(800, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True) * 8
    other_way = np.array([0.01, 0, 0]) - place  # so that the frame is symmetric: one point against many
    row, column = middle(image(np.concatenate([ball + place, [other_way]]), **view)) / 200
    for found, wanted in zip((row, column), expected, strict=True):
        assert abs(found - wanted) < 0.3, (row, column)


def test_near_hides_far() -> None:
    red, blue = np.tile(RED, (1600, 1)), np.tile(BLUE, (1600, 1))
    points = np.concatenate([sheet("z", 0.3), sheet("z", -0.3)])
    for front, first in ((np.concatenate([red, blue]), 0), (np.concatenate([blue, red]), 2)):
        centre = image(points, front, azimuth=0, elevation=0)[90:110, 90:110].reshape(-1, 3).mean(0)
        assert centre.argmax() == first
        assert centre[first] > 0.4 > centre[2 - first]


def test_a_closed_surface_is_painted_without_holes() -> None:
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(4096, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    painted = image(ball).min(2) < 0.95
    rows, columns = np.indices(painted.shape)
    inside = np.hypot(rows - 99.5, columns - 99.5) < 0.85 * 96
    outside = np.hypot(rows - 99.5, columns - 99.5) > 102
    assert painted[inside].mean() > 0.999
    assert not painted[outside].any()


def test_what_faces_the_light_is_brighter() -> None:
    above = image(sheet("y", 0.0), azimuth=0, elevation=30)
    beside = image(sheet("x", 0.0), azimuth=60, elevation=0)
    assert above[95:105, 95:105].mean() > beside[95:105, 95:105].mean() + 0.1


def test_units_and_place_do_not_matter() -> None:
    points = np.random.default_rng(0).normal(size=(500, 3))
    np.testing.assert_allclose(image(points), image(points * 1000 + (4000, 5000, 6000)), atol=0.02)


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (np.zeros((10, 2)), "N, 3"),
        (np.full((10, 3), np.nan), "finite"),
        (np.ones((10, 3)), "two different"),
        (np.ones((1, 3)), "two different"),
        (np.ones((0, 3)), "two different"),
    ],
)
def test_points_that_cannot_be_drawn(points: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        image(points)


def test_colours_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"colours of shape \(9, 3\)"):
        image(np.eye(3), np.zeros((9, 3)))


@pytest.fixture
def shapes() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"parts/shape_{k}.stl": rng.normal(size=(300, 3)) for k in range(11)}


@pytest.mark.parametrize("count", [1, 5, 11])
def test_neighbours_make_a_picture(shapes: dict[str, np.ndarray], count: int, tmp_path: Path) -> None:
    names = list(shapes)
    rows = {name: [(other, 0.5) for other in names if other != name][:3] for name in names[:count]}
    out = tmp_path / "new" / "picture.png"
    assert viz.draw_neighbours(shapes, rows, out) == out
    assert out.read_bytes().startswith(b"\x89PNG")
    from matplotlib.image import imread

    height, width = imread(out).shape[:2]
    assert (width > height) == (count != 5)  # eight rows at most before a second column
    assert [path.name for path in out.parent.iterdir()] == ["picture.png"]


def test_a_failed_write_leaves_the_old_picture(
    shapes: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    out = tmp_path / "picture.png"
    out.write_bytes(b"old")

    def full_disk(self: Figure, path: Path, **options: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(Figure, "savefig", full_disk)
    first, second = list(shapes)[:2]
    with pytest.raises(OSError, match="no space"):
        viz.draw_neighbours(shapes, {first: [(second, 0.9)]}, out)
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]


def test_neighbours_that_cannot_be_drawn(shapes: dict[str, np.ndarray], tmp_path: Path) -> None:
    out = tmp_path / "picture.png"
    with pytest.raises(ValueError, match=r"other\.stl.*missing"):
        viz.draw_neighbours(shapes, {"parts/shape_0.stl": [("other.stl", 0.9)]}, out)
    with pytest.raises(ValueError, match="0 shapes"):
        viz.draw_neighbours(shapes, {}, out)
    with pytest.raises(ValueError, match="65 shapes"):
        viz.draw_neighbours(shapes, {str(k): [] for k in range(65)}, out)
    assert not out.exists()


def test_a_missing_matplotlib_is_named(
    shapes: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "pointmae-zoo\[viz\]"'):
        viz.draw_neighbours(shapes, {"parts/shape_0.stl": []}, tmp_path / "picture.png")


def test_a_part_lies_where_it_does_in_the_whole_and_strays_are_left_out() -> None:
    ball = np.random.default_rng(0).normal(size=(2000, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    view = {"azimuth": 0.0, "elevation": 0.0}
    right = paint(ball[ball[:, 0] > 0], **view, frame=ball)[..., 3]
    whole = paint(ball, **view, frame=ball)[..., 3]
    columns = np.flatnonzero(right.any(0))
    assert 145 < columns.min() < 165 and columns.max() == np.flatnonzero(whole.any(0)).max()
    strays = np.concatenate([ball, [[9, 0, 0], [0, -9, 0], [-1.5, 1.5, 0]]])
    assert np.array_equal(paint(strays, **view, frame=ball)[..., 3], whole)
    assert not paint(strays[-3:], **view, frame=ball).any()


@pytest.fixture
def model() -> I2PMAEForPretraining:
    torch.manual_seed(0)
    model = create_model(
        "i2p_mae_tiny", kind="pretraining", num_tokens=(24, 8), mask_ratio=0.5, num_views=3, teacher_dim=5
    )
    return model.train()


@pytest.fixture
def clouds() -> torch.Tensor:
    return torch.rand(2, 120, 3, generator=torch.Generator().manual_seed(1))


def some_views(clouds: torch.Tensor) -> TeacherViews:
    torch.manual_seed(2)
    pixels = ops.zbuffer_depth_images(clouds, ops.view_rotations(3), size=32).pixels
    return TeacherViews([torch.randn(2, 3, 5, 4, 4)], torch.rand(2, 3, 4, 4), pixels)


def test_a_reconstruction_is_what_the_model_predicts(
    model: I2PMAEForPretraining, clouds: torch.Tensor
) -> None:
    views = some_views(clouds)
    model.eval()
    with torch.no_grad():
        torch.manual_seed(3)
        made = model.preview(clouds, views)
        torch.manual_seed(3)
        out = model(clouds, views)
        groups = model.encoder.group(clouds)
    assert out.images is not None
    agreement = made.after[1].values
    common = out.images.target[out.images.valid].mean(0).flatten()
    for cloud in range(2):
        shown = model.encoder.visible_below(out.visible, groups)[0][cloud]
        seen = {int(point) for token in shown.nonzero()[:, 0] for point in groups.neighbors[0][cloud, token]}
        assert set(np.flatnonzero(made.visible[cloud])) == seen
        hidden, valid = out.points.order[cloud], out.points.valid[cloud]
        expected = (groups.centers[0][cloud, hidden, None] + out.points.predicted[cloud])[valid].flatten(0, 1)
        np.testing.assert_allclose(made.predicted[cloud], expected, atol=1e-5)
        for place in range(int(out.images.valid[cloud].sum())):
            token = out.images.order[cloud, place]
            one, other = (
                (one[cloud, place].flatten() - common).numpy()
                for one in (out.images.predicted, out.images.target)
            )
            cosine = max(0.0, one @ other / np.linalg.norm(one) / np.linalg.norm(other))
            at_center = agreement[cloud, groups.indices[cloud, token]]
            np.testing.assert_allclose(at_center, cosine, atol=1e-5)
        assert np.isnan(agreement[cloud][~made.visible[cloud]]).all()


def test_reconstructions_make_the_same_picture_and_leave_no_trace(
    model: I2PMAEForPretraining, clouds: torch.Tensor, tmp_path: Path
) -> None:
    from matplotlib.image import imread

    views = some_views(clouds)
    before = torch.random.get_rng_state()
    paths = [
        viz.draw_reconstruction(model, clouds, views, tmp_path / name, seed)
        for name, seed in (("a.png", 0), ("b.png", 0), ("c.png", 1))
    ]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.training and model.encoder.training
    first, again, other = (path.read_bytes() for path in paths)
    assert first == again != other
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "c.png"]
    narrow = viz.draw_reconstruction(model, clouds, None, tmp_path / "d.png")
    assert imread(narrow).shape[1] * 5 == imread(paths[0]).shape[1] * 3
    picture = imread(narrow)[..., :3]
    columns = np.array_split(picture[40:-60], 3, axis=1)
    orange = [((one[..., 0] > one[..., 2] + 0.25).mean() > 0.01) for one in columns]
    assert orange == [False, False, True]


def test_a_teacher_without_saliency_leaves_its_column_out(
    model: I2PMAEForPretraining, clouds: torch.Tensor, tmp_path: Path
) -> None:
    from matplotlib.image import imread

    views = some_views(clouds)._replace(saliency=None)
    wide = imread(viz.draw_reconstruction(model, clouds, views, tmp_path / "a.png")).shape[1]
    assert wide * 3 == imread(viz.draw_reconstruction(model, clouds, None, tmp_path / "b.png")).shape[1] * 4


def test_too_many_shapes_to_reconstruct(model: I2PMAEForPretraining, tmp_path: Path) -> None:
    for count in (0, 13):
        with pytest.raises(ValueError, match=rf"{count} shapes: a picture shows 1 to 12"):
            viz.draw_reconstruction(model, torch.rand(count, 50, 3), None, tmp_path / "a.png")


@pytest.fixture
def joint() -> JointMAEForPretraining:
    torch.manual_seed(0)
    model = create_model(
        "joint_mae_tiny", kind="pretraining", num_tokens=(24, 8), depths=(0, 1), image_size=48, cover=3
    )
    return model.train()


def test_pictures_of_both_modalities(
    joint: JointMAEForPretraining, clouds: torch.Tensor, tmp_path: Path
) -> None:
    from matplotlib.image import imread

    before = torch.random.get_rng_state()
    paths = [
        viz.draw_reconstruction(joint, clouds, None, tmp_path / name, seed)
        for name, seed in (("a.png", 0), ("b.png", 0), ("c.png", 1))
    ]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert joint.training and joint.encoder.training
    first, again, other = (path.read_bytes() for path in paths)
    assert first == again != other
    panels = np.array_split(imread(paths[0])[45:-60, :, :3], 7, axis=1)
    assert all((panel.min(2) < 0.95).mean() > 0.1 for panel in panels)
    orange = [
        ((one[..., 0] > one[..., 2] + 0.25) & (one[..., 1] < one[..., 0] - 0.2)).mean() for one in panels
    ]
    assert int(np.argmax(orange)) == 5 and orange[5] > 0.01
    grey = [np.isclose(one, (0.87, 0.88, 0.90), atol=0.02).all(2).mean() for one in panels]
    assert 0.6 < grey[1] < 0.9 and max(grey[:1] + grey[2:]) < 0.1  # three quarters of the patches


def test_an_image_is_put_together_from_its_patches(
    joint: JointMAEForPretraining, clouds: torch.Tensor
) -> None:
    """Patches that predict their own pixels make the image again; hidden ones are NaN, drawn grey."""
    joint.eval()
    with torch.no_grad():
        made = joint(clouds)
    truth = made.images.unfold(2, 16, 16).unfold(3, 16, 16).flatten(2, 3)  # (B, V, P, 16, 16)
    image, masked, filled = image_columns(made.images, truth, made.visible_patches, 0.2)
    assert masked.opacity is not None and image.opacity is not None
    for row in range(len(clouds)):
        assert np.array_equal(image.values[row], filled.values[row])
        seen = np.kron(made.visible_patches[row, 0].view(3, 3).numpy(), np.ones((16, 16))).astype(bool)
        assert np.array_equal(masked.values[row][seen], image.values[row][seen])
        assert np.array_equal(masked.opacity[row][seen], image.opacity[row][seen])
        assert np.isnan(masked.values[row][~seen]).all() and (masked.opacity[row][~seen] == 1).all()
    assert masked.title == f"visible: {int(made.visible_patches[0].sum())} of 9 patches"


def test_points_are_projected_as_the_models_images_are(clouds: torch.Tensor) -> None:
    azimuth, elevation = torch.tensor([[0.7], [-2.5]]), torch.tensor([[0.3], [-0.4]])
    rotations = ops.orbit_rotations(azimuth, elevation)
    frames = ops.fit_view_frames(clouds, rotations, size=48, cover=3)
    images = ops.render_depth_images(clouds, frames).images
    strays = torch.tensor([[50.0, 0, 0], [0, -50.0, 0]])
    for row, points in enumerate(clouds):
        found = draw_points(torch.cat([points, strays]), frames, row)
        np.testing.assert_allclose(found, images[row, 0], atol=1e-6)
        # And the cloud beside it is seen from where the image is: what is right or up there is so here.
        place = np.degrees([azimuth[row, 0], elevation[row, 0]])
        np.testing.assert_allclose(view_direction(rotations[row, 0]), place, atol=1e-3)
        np.testing.assert_allclose(_view(*place), rotations[row, 0], atol=1e-6)


def test_models_without_pictures(clouds: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="there are no pictures of a Linear"):
        viz.draw_reconstruction(torch.nn.Linear(3, 3), clouds, None, tmp_path / "a.png")
