"""What evaluations of fine-tuned networks write: the curve, what the command keeps, what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard

from pointmae_zoo import cli, push_to_hub, save_pretrained
from pointmae_zoo.evaluate.label_curve import label_curve
from pointmae_zoo.reports.report import LinearReport
from pointmae_zoo.reports.schema import read_evaluation
from pointmae_zoo.reports.score_report import ScoreReport
from samples.boxes import CLASSES, box_file
from samples.models import small
from samples.reports import linear_report, score_report, written

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return box_file(tmp_path_factory.mktemp("boxes") / "boxes.npz")


def test_a_curve_of_labels(tmp_path: Path) -> None:
    files = [
        written(tmp_path / f"{label}{shots}.json", score_report(label, shots=shots, score=score))
        for label, scores in (("pre-trained", (40.0, 60.0, 75.0)), ("from scratch", (20.0, 45.0, 70.0)))
        for shots, score in zip((1, 5, None), scores, strict=True)
    ]
    out = tmp_path / "curve.png"
    table = label_curve(files, out)
    assert out.read_bytes().startswith(PNG)
    rows = [line.split() for line in table.splitlines()[1:]]
    assert rows[2] == ["pre-trained", "all", "75.0", "+-", "1.0"]
    assert [row[-4] for row in rows] == ["1", "5", "all"] * 2
    with pytest.raises(ValueError, match="a second point of 'pre-trained' at 1 labels"):
        label_curve([files[0], files[0]], out)
    other = score_report("x", shots=1)
    other["context"]["dataset"]["file"] = "other.npz"
    with pytest.raises(ValueError, match=r"other\.json: another data than"):
        label_curve([files[0], written(tmp_path / "other.json", other)], out)
    unknown = written(tmp_path / "unknown.json", score_report("x", shots=None, num_train=None))
    with pytest.raises(ValueError, match="neither shots nor how many clouds"):
        label_curve([unknown], out)


def test_a_curve_of_one_number_of_labels_shows_it(tmp_path: Path) -> None:
    """In the middle of the picture, where the legend is not."""
    image = pytest.importorskip("matplotlib.image")
    out = tmp_path / "new" / "curve.png"
    label_curve([written(tmp_path / "one.json", score_report("one", shots=5, score=60.0))], out)
    picture = image.imread(out)[..., :3] * 255  # (H, W, 3)
    blue = np.abs(picture - np.array([0x2F, 0x6D, 0xB0])).max(axis=2) < 8
    width = blue.shape[1]
    assert blue[:, width * 2 // 5 : width * 7 // 10].sum() > 20


@pytest.mark.parametrize(("count", "told"), [(5, True), (29, True), (30, False)])
def test_a_table_of_few_clouds_says_so(count: int, told: bool) -> None:
    scored, probed = score_report(), linear_report()
    scored["context"]["num_test"] = probed["context"]["num_test"] = count
    probed["context"]["baseline_seeds"] = [0]
    for table in (ScoreReport(**scored).table(), LinearReport(**probed).table()):
        assert (f"{count} clouds are few: each is {100 / count:.1f} % of a score" in table) == told


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pointmae_zoo import from_pretrained

    folder = tmp_path_factory.mktemp("run")
    save_pretrained(small(), folder / "encoder")
    model = from_pretrained(folder / "encoder", kind="classification", labels=CLASSES)
    return save_pretrained(model.eval(), folder / "classifier")


def test_the_command_keeps_its_numbers_and_push_takes_them(
    classifier: Path, boxes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def evaluate(*words: object) -> tuple[int, str, str]:
        code = cli.main(["evaluate", *map(str, words)])
        return code, *capsys.readouterr()

    given = ["--data", boxes, "--points", 64]
    picture = classifier / "confusion.png"
    code, said, _ = evaluate("finetuned", classifier, *given, "--votes", 2, "--picture", picture)
    kept = classifier / "evaluations" / "finetuned.boxes.json"
    assert code == 0 and f"written to {kept}" in said and f"written to {picture}" in said
    code, said, _ = evaluate("robustness", classifier, *given, "--markdown")
    assert code == 0 and "| rotation |" in said
    code, _, wrong = evaluate("finetuned", classifier, *given)
    assert code == 2 and "holds other settings: --votes 2" in wrong
    stored = read_evaluation(kept)
    pushed = push_to_hub(classifier, "org/classifier", dry_run=True)
    names = {file.name for file in pushed.files}
    assert {f"evaluations/{kept.name}", "evaluations/robustness.boxes.json", "confusion.png"} <= names
    results = ModelCard(pushed.card).data.eval_results
    values = {(one.metric_name, one.metric_value) for one in results}
    for row in stored["summary"]:
        name = row["measure"] + (f", {row['votes']} votes" if row["votes"] else "")
        assert (f"{name} (%)", row["mean"]) in values
    assert any("test clouds changed: rotation" in one.metric_name for one in results)
    assert "(confusion.png)" in pushed.card and "fine-tuned, 3 classes" in pushed.card
    # Numbers of another head are not this one's.
    stored["context"]["model_sha256"] = ["0" * 64]
    before = kept.read_text(encoding="utf-8")
    kept.write_text(json.dumps(stored), encoding="utf-8")
    with pytest.raises(ValueError, match="measured other weights"):
        push_to_hub(classifier, "org/classifier", dry_run=True)
    kept.write_text(before, encoding="utf-8")


def test_the_wrong_task_for_a_model_says_which_is_right(
    classifier: Path, boxes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, said in (
        (("finetuned", classifier.parent / "encoder"), "'pointmae-zoo evaluate linear' is for those"),
        (("parts", classifier), "'pointmae-zoo evaluate finetuned' is for those"),
    ):
        assert cli.main(["evaluate", *map(str, words), "--data", str(boxes)]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("summary.0.mean", None, "summary[0].mean is None"),
        ("confusion", [[1, 2]], "confusion is no table of 2 times 2 counts"),
        ("per_class.0.std", None, "per_class[0]: one of mean and std is null"),
        ("context.recipe.shots", 0, "context.recipe.shots is 0"),
        ("context.num_points", "many", "context.num_points is 'many'"),
        ("clouds.asked", None, "clouds.asked is None"),
    ],
)
def test_a_report_with_something_wrong_is_refused(tmp_path: Path, place: str, value: Any, said: str) -> None:
    report: Any = score_report("x", shots=5)
    *path, last = (int(part) if part.isdigit() else part for part in place.split("."))
    there = report
    for part in path:
        there = there[part]
    there[last] = value
    with pytest.raises(ValueError, match="evaluate again") as caught:
        read_evaluation(written(tmp_path / "report.json", report))
    assert said in str(caught.value)
