"""The rows of a table that are most similar to a query."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from pointmae_zoo.inference import Embeddings, embed_files, write_table
from pointmae_zoo.library import similar
from samples.models import small


def table(names: list[str]) -> Embeddings:
    values = np.random.default_rng(0).normal(size=(len(names), 6)) * 10.0 ** np.arange(-3, 3)
    return Embeddings(names, values.astype(np.float32))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def test_similar_to_a_vector() -> None:
    rows, query = table(list("abcde")), np.arange(6.0)
    scores = [cosine(row, query) for row in rows.features]
    expected = sorted(zip(scores, rows.paths, strict=True), reverse=True)
    found = similar(query, rows, k=3)
    assert [hit.path for hit in found] == [name for _, name in expected[:3]]
    np.testing.assert_allclose(
        [hit.similarity for hit in found], [score for score, _ in expected[:3]], rtol=1e-9
    )
    assert len(similar(query[None], rows, k=99)) == 5


def test_similar_to_a_row_leaves_that_row_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table(["a.stl", "b.stl", "c.stl"])
    write_table(tmp_path / "t.csv", rows)
    found = similar("b.stl", tmp_path / "t.csv")
    assert sorted(hit.path for hit in found) == ["a.stl", "c.stl"]
    assert found[0][1] >= found[1][1]
    monkeypatch.chdir(tmp_path)
    assert similar(tmp_path / "b.stl", rows) == found  # the same file by another name


def test_a_row_of_zeros_is_similar_to_nothing() -> None:
    rows = Embeddings(["a", "b"], np.array([[0, 0], [1, 0]], np.float32))
    assert similar(np.array([1.0, 0.0]), rows) == [("b", 1.0, None), ("a", 0.0, None)]


def test_wrong_queries_are_told(tmp_path: Path) -> None:
    rows = table(list("abcde"))
    with pytest.raises(ValueError, match="6 features expected, got 5"):
        similar(np.ones(5), rows)
    with pytest.raises(ValueError, match="k: at least 1"):
        similar(np.ones(6), rows, k=0)
    with pytest.raises(FileNotFoundError, match=r"none\.stl: neither a row of the table nor a file"):
        similar("none.stl", rows)
    (tmp_path / "new.stl").touch()
    with pytest.raises(ValueError, match="does not name its model"):
        similar(tmp_path / "new.stl", Embeddings(rows.paths, rows.features))


def test_hits_say_how_large_they_are_and_scale_keeps_the_size(tmp_path: Path) -> None:
    nut = trimesh.creation.annulus(2.0, 4.0, 1.5)
    for name, factor in (("a_m3", 1.0), ("b_m6", 2.0), ("c_m30", 10.0), ("d_m3", 1.01)):
        nut.copy().apply_scale(factor).export(tmp_path / f"{name}.stl")
    np.save(tmp_path / "e_scan.npy", nut.sample(2000))
    out = tmp_path / "table.npz"
    rows = embed_files(tmp_path, small(), out=out, workers=1, progress=False)
    found = {Path(hit.path).stem: hit.size_ratio for hit in similar(tmp_path / "a_m3.stl", out)}
    assert found == {
        "b_m6": pytest.approx(2),
        "c_m30": pytest.approx(10),
        "d_m3": pytest.approx(1.01),
        "e_scan": None,
    }
    turned = nut.copy().apply_transform(trimesh.transformations.rotation_matrix(1.0, [1, 2, 3]))
    turned.export(tmp_path / "new.stl")
    for query in (tmp_path / "a_m3.stl", tmp_path / "new.stl"):
        kept = similar(query, rows, model=small(), scale="keep")
        same = {"d_m3"} if query.stem == "a_m3" else {"a_m3", "d_m3"}
        assert {Path(hit.path).stem for hit in kept} == same
    with pytest.raises(ValueError, match="scale: 'keep' needs sizes, but the query has none"):
        similar(tmp_path / "e_scan.npy", rows, scale="keep")
    with pytest.raises(ValueError, match="the table has no sizes; embed again"):
        similar(tmp_path / "a_m3.stl", Embeddings(rows.paths, rows.features), scale="keep")
    with pytest.raises(ValueError, match="scale: ignore or keep expected"):
        similar(tmp_path / "a_m3.stl", rows, scale="big")  # type: ignore[arg-type]
