"""The rows of a table that are most similar to a query."""

from pathlib import Path

import numpy as np
import pytest

from pointmae_zoo.inference import Embeddings, write_table
from pointmae_zoo.library import similar


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
    assert [name for name, _ in found] == [name for _, name in expected[:3]]
    np.testing.assert_allclose([score for _, score in found], [score for score, _ in expected[:3]], rtol=1e-9)
    assert len(similar(query[None], rows, k=99)) == 5


def test_similar_to_a_row_leaves_that_row_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table(["a.stl", "b.stl", "c.stl"])
    write_table(tmp_path / "t.csv", rows)
    found = similar("b.stl", tmp_path / "t.csv")
    assert sorted(name for name, _ in found) == ["a.stl", "c.stl"]
    assert found[0][1] >= found[1][1]
    monkeypatch.chdir(tmp_path)
    assert similar(tmp_path / "b.stl", rows) == found  # the same file by another name


def test_a_row_of_zeros_is_similar_to_nothing() -> None:
    rows = Embeddings(["a", "b"], np.array([[0, 0], [1, 0]], np.float32))
    assert similar(np.array([1.0, 0.0]), rows) == [("b", 1.0), ("a", 0.0)]


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
