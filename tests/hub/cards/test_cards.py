"""Cards and README: every number comes from a file that a command wrote, and every weight has a card."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from pointmae_zoo import create_model, from_pretrained, list_models, list_weights, save_pretrained
from pointmae_zoo.hub.cards.card import render_card, render_for_hub
from pointmae_zoo.hub.cards.model_index import eval_results
from pointmae_zoo.hub.cards.release import read_facts, read_release
from pointmae_zoo.hub.pretrained import BUNDLED
from pointmae_zoo.models.preprocess import Preprocess
from pointmae_zoo.models.registry import ENCODER_PAPER, get_architecture, get_weights
from samples.meshes import box, stl_bytes
from samples.reports import linear_report, written

ROOT = Path(__file__).resolve().parents[3]
CARDS = ROOT / "model_cards"
CALL = re.compile(r"^(?:encoder|classifier)[.(].*# \(([\d, ]+)\)", re.MULTILINE)
"""A line of a card's snippet that says which shape comes out."""


def test_readme_has_filled_tables() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("<!-- table: ") == text.count("<!-- end -->") >= 2
    empty = re.findall(r"<!-- table: \w+ (\S+) -->\n<!-- end -->", text)
    assert not any((ROOT / name).exists() for name in empty) and len(empty) <= 1
    assert "To be filled" not in text


def test_pages_are_what_the_files_say() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "model_cards.render", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", list_weights())
def test_committed_cards_are_what_the_renderer_gives(name: str) -> None:
    card = (CARDS / f"{name}.md").read_bytes().decode()
    assert card == render_card(BUNDLED / name, card=CARDS / f"{name}.yaml")
    entry, facts = get_weights(name), read_facts(CARDS / f"{name}.yaml")
    assert (facts.name, facts.status, facts.licence) == (name, entry.status, entry.licence)


def test_every_card_is_of_a_published_weight() -> None:
    for suffix in ("md", "yaml"):
        assert [path.stem for path in sorted(CARDS.glob(f"*.{suffix}"))] == list_weights()


@pytest.mark.parametrize("name", list_weights())
def test_every_number_of_a_model_index_is_in_its_json(name: str) -> None:
    release = read_release(BUNDLED / name, CARDS / f"{name}.yaml")
    metadata = yaml.safe_load(render_for_hub(release).split("---\n")[1])
    known: dict[str, dict[tuple[str, ...], float]] = {}
    for file in read_facts(CARDS / f"{name}.yaml").evaluations:
        report = json.loads((CARDS / file).read_text(encoding="utf-8"))
        if "summary" not in report:
            continue
        classes = f"{len(report['context']['dataset']['classes'])} classes"
        svm = {"svm": "linear SVM", "logistic": "logistic regression"}
        svm["paper"] = "linear SVM on raw features with the papers' fixed C"
        numbers = known.setdefault(classes, {})
        if report["context"].get("task") == "finetuned":
            numbers |= {f"{row['measure']} (%)": row["mean"] for row in report["summary"]}
            continue
        for row in [*report["summary"], *report["robustness"], *report["few_shot"]]:
            if row["features"] == "weights":
                called = svm.get(row.get("classifier"), f"{row.get('ways')}-way {row.get('shots')}-shot")
                called += f", test clouds changed: {row['change']}" if "change" in row else ""
                pose = report["context"].get("pose", "upright")
                called += "" if pose == "upright" else f", pose {pose}"
                numbers[f"accuracy (%), {called}"] = row["test_mean"]
    (index,) = metadata["model-index"]
    assert index["name"] == name
    found: dict[str, dict[str, float]] = {}
    for result in index["results"]:
        assert result["dataset"]["split"] == "test" and result["dataset"]["args"]["protocol"]
        classes = result["dataset"]["config"].split(", ")[1]
        for metric in result["metrics"]:
            assert (
                found.setdefault(classes, {}).setdefault(metric["name"], metric["value"]) == metric["value"]
            )
    changed_too = {
        classes: {name: value for name, value in numbers.items() if "logistic regression, test" not in name}
        for classes, numbers in known.items()
    }
    assert found == changed_too and len(found["24 classes"]) >= 2


@pytest.mark.parametrize("name", list_weights())
def test_the_client_reads_a_card_as_it_was_meant(name: str) -> None:
    """Front matter in the order that people read, every result as it went in."""
    from huggingface_hub import ModelCard

    release = read_release(BUNDLED / name, CARDS / f"{name}.yaml")
    text = render_for_hub(release)
    data = ModelCard(text).data
    keys = [line.partition(":")[0] for line in text.split("---\n")[1].splitlines() if line[0] not in "- "]
    # The Hub has a task for features, none for the classes of clouds.
    task = ["pipeline_tag"] if release.config.kind == "encoder" else []
    assert keys == ["library_name", "license", *task, "tags", "model-index"]
    assert (data.library_name, data.license, data.model_name) == ("pointmae-zoo", "apache-2.0", name)
    names = {file: one.name for one in release.facts.data for file in one.files}
    assert data.eval_results == eval_results(list(release.reports.values()), names)


@pytest.mark.parametrize("name", list_weights())
def test_the_python_snippet_of_a_card_runs(name: str, tmp_path: Path) -> None:
    card = (CARDS / f"{name}.md").read_text(encoding="utf-8")
    snippet = next(one for one in re.findall(r"```python\n(.*?)```", card, re.DOTALL) if "read_points" in one)
    code = "\n".join(
        f"shown.append(tuple(({line.partition('  #')[0]}).shape))" if CALL.match(line) else line
        for line in snippet.splitlines()
    )
    (tmp_path / "part.stl").write_bytes(stl_bytes(np.asarray(box().triangles)))
    shown: list[tuple[int, ...]] = []
    exec(code.replace("part.stl", str(tmp_path / "part.stl")), {"shown": shown})
    said = CALL.findall(snippet)
    assert [", ".join(map(str, shape)) for shape in shown] == said and len(said) == 2


def test_every_architecture_has_a_paper_to_cite() -> None:
    for name in list_models():
        for paper in (get_architecture(name).family.paper, ENCODER_PAPER):
            assert (
                paper is not None
                and paper.bibtex.startswith("@")
                and paper.bibtex.count("{") == paper.bibtex.count("}")
            )


@pytest.fixture
def run(tmp_path: Path, tiny: dict[str, list[int]]) -> Path:
    """A folder with nothing but a pre-training model."""
    torch.manual_seed(0)
    return save_pretrained(create_model("i2p_mae_tiny", "pretraining", **tiny), tmp_path / "my-run")


def test_a_card_of_bare_weights_states_nothing_that_nobody_stated(run: Path) -> None:
    from huggingface_hub import ModelCard

    card = render_card(run, repo_id="org/name")
    data = ModelCard(card).data
    assert data.license is None and data.eval_results is None and "model-index" not in card
    assert "# name\n" in card and "| licence | not stated |" in card and "| status | not stated |" in card
    sections = dict(
        re.findall(r"^## (.+?)\n\n(.*?)(?=\n## |\n<details>|\n</details>|\Z)", card, re.MULTILINE | re.DOTALL)
    )
    for title in ("Limits", "Training data", "Recipe"):
        assert sections[title].strip() == "Not stated."
    assert "Robustness" not in sections and "Ablations" not in sections
    assert sections["Results"].strip() == "Not evaluated." and "not stated" in sections["Licence"]
    assert 'from_pretrained("org/name", kind="encoder")' in card and "--model org/name" in card
    model = create_model("i2p_mae_tiny", "pretraining")
    assert get_architecture(model.config.architecture).paper.lower() in data.tags


def test_the_kind_decides_how_it_is_used(tmp_path: Path, tiny: dict[str, list[int]]) -> None:
    classifier = create_model("i2p_mae_tiny", "classification", labels=("a", "b"), num_classes=2, **tiny)
    card = render_card(save_pretrained(classifier, tmp_path / "c"), repo_id="org/c")
    assert 'classifier = pointmae_zoo.from_pretrained("org/c")\n' in card
    assert "classifier(clouds)  # (1, 2)" in card and "| labels | a, b |" in card
    assert "pipeline_tag" not in card and 'kind="classification"' in card
    segmenter = create_model("i2p_mae_tiny", "part_segmentation", num_parts=5, num_object_classes=2, **tiny)
    card = render_card(save_pretrained(segmenter, tmp_path / "s"), repo_id="org/s")
    assert "segmenter(clouds, object_class)  # (1, 1024, 5)" in card


FACTS = """name: My weights
licence: LicenseRef-Ours 2
status: demo
summary: Chairs, and nothing but chairs.
data:
  - {name: our chairs, licence: CC-BY-4.0, description: Scanned at home., files: [chairs.npz]}
limits: [Only chairs.]
notes:
  Results: Measured on a Sunday.
  Thanks: To the chairs.
"""


def test_a_card_says_what_a_person_stated(run: Path) -> None:
    from huggingface_hub import ModelCard

    model = from_pretrained(run)
    recipe = {"batch_size": 16, "teacher": {"name": "", "views": 3}, "seed": 3, "learning_rate": 0.5}
    hashes = {"chairs.npz": "c" * 64, "other.npz": "d" * 64, "procedural": "e" * 64}
    made = {"status": "own-recipe", "steps": 1200, "seconds": 7500.0, "recipe": recipe, "data_sha256": hashes}
    save_pretrained(model, run, provenance={**made, "clouds_from_data": 1000, "clouds_procedural": 0})
    (run / "card.yaml").write_text(FACTS)
    (run / "recipe.yaml").write_text("steps: 1200\n")
    report = linear_report(dataset={"file": "chairs.npz", "sha256": "c" * 64, "classes": ["one", "two"]})
    report["context"]["models"] = ["my-run"]
    written(run / "evaluations" / "linear.chairs.json", report)
    card = render_for_hub(read_release(run), "org/name")
    data = ModelCard(card).data
    assert (data.license, data.license_name) == ("other", "licenseref-ours-2")
    assert data.model_name == "My weights" and "# My weights\n\nChairs, and nothing but chairs.\n" in card
    assert {one.dataset_name for one in data.eval_results or []} == {"our chairs (chairs.npz)"}
    assert "| status | `demo`, stated by its publisher: " in card  # a person's word, not that of the training
    assert f"| our chairs | CC-BY-4.0 | Scanned at home. | chairs.npz `{'c' * 12}` |" in card
    assert f"| other.npz | not stated | | other.npz `{'d' * 12}` |" in card
    assert "| procedural shapes | none needed |" in card and "Clouds: 1,000 from files;" in card
    assert "- Only chairs." in card and "## Results\n\nMeasured on a Sunday.\n\nLinear probe" in card
    assert "## Thanks\n\nTo the chairs.\n" in card
    assert "Pre-training used the training part of chairs.npz" in card
    assert "1,200 steps of 16 clouds" in card and "| teacher | none |" in card and "2.1 h" in card
    assert "[recipe.yaml](recipe.yaml)" in card and "81.2 ± 0.5" in card


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"recipe": [1]}, "provenance.recipe is [1], expected a mapping of fields"),
        ({"recipe": {"model_arguments": ["dims"]}}, "provenance.recipe.model_arguments is ['dims']"),
        ({"recipe": {"model_arguments": "dims"}}, "provenance.recipe.model_arguments is 'dims'"),
        ({"recipe": {"augmentation": 3}}, "provenance.recipe.augmentation is 3, expected a mapping"),
        ({"recipe": {"teacher": "resnet"}}, "provenance.recipe.teacher is 'resnet'"),
        ({"seconds": 10**400}, "provenance.seconds is 1000"),
        ({"steps": "many"}, "provenance.steps is 'many', expected a whole number"),
        ({"data_sha256": {"a.npz": [1]}}, "provenance.data_sha256.a.npz is [1], expected text"),
    ],
)
def test_a_provenance_that_cannot_be_shown_is_refused_in_a_line(
    run: Path, made: dict[str, Any], said: str
) -> None:
    save_pretrained(from_pretrained(run), run, provenance=made)
    written(run / "evaluations" / "linear.some.json", linear_report())
    with pytest.raises(ValueError, match=r"config\.json: ") as caught:
        render_card(run)
    assert said in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_what_is_not_stated_in_a_provenance_is_left_out(run: Path) -> None:
    nothing = {"recipe": None, "data_sha256": None, "seconds": None, "final_losses": {}, "versions": None}
    save_pretrained(from_pretrained(run), run, provenance=nothing)
    assert "## Recipe\n\nNot stated." in render_card(run)


@pytest.mark.parametrize(
    ("recipe", "made", "said"),
    [
        ({"warmup_steps": 200}, {}, "warmup steps 200, schedule step"),
        (
            {"warmup_steps": 200},
            {"warmup_cut_to": 1},
            "warmup steps 1 (the run was too short for the recipe's warmup steps 200), schedule step",
        ),
        (
            {"warmup_epochs": 10.0},
            {"warmup_cut_to": 0},
            "warmup steps 0 (the run was too short for the recipe's warmup epochs 10), schedule step",
        ),
    ],
)
def test_a_card_says_how_long_the_warm_up_was(
    run: Path, recipe: dict[str, Any], made: dict[str, Any], said: str
) -> None:
    save_pretrained(from_pretrained(run), run, provenance={"recipe": {"schedule": "step", **recipe}, **made})
    assert f"| schedule | {said} |" in render_card(run)


def test_a_status_is_stated_by_somebody(run: Path) -> None:
    """Not by the training itself, which does not know how good it is."""
    save_pretrained(from_pretrained(run), run, provenance={"status": "own-recipe"})
    assert "| status | not stated |" in render_card(run)
    assert "| status | `own-recipe`: " in render_card(BUNDLED / "i2p_mae_tiny.shapes")  # the registry does


def test_reproduced_has_to_be_shown(run: Path) -> None:
    """By the papers' protocol on the paper's data; saying it is not enough."""
    (run / "card.yaml").write_text("status: reproduced\n")
    report = linear_report(dataset={"file": "modelnet40:folder", "sha256": "0" * 64, "classes": ["a", "b"]})
    for right, said in ((None, "status 'reproduced' has to be shown"), (93.0, "reaches 93.35 on modelnet40")):
        if right is not None:
            report["summary"][0] |= {"test_mean": right, "test_std": 0.0}
            report["context"] |= {"protocol_name": "paper", "fixed_C": 0.0093}
            written(run / "evaluations" / "paper.json", report)
        with pytest.raises(ValueError, match=said) as caught:
            render_card(run)
        assert "card.yaml" in str(caught.value) and "\n" not in str(caught.value)
    report["summary"][0]["test_std"] = 0.4
    written(run / "evaluations" / "paper.json", report)
    assert "| status | `reproduced`, stated by its publisher: " in render_card(run)


def test_a_card_cites_the_method_and_the_encoder(run: Path) -> None:
    cited = render_card(run).partition("## Citation")[2]
    for what in ("https://arxiv.org/abs/2212.06785", "https://arxiv.org/abs/2205.14401"):
        assert what in cited
    assert cited.count("@inproceedings{") == 2 and "{Point-M2AE: Multi-scale Masked Autoencoders" in cited


def test_the_facts_in_the_docs_are_some(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "sharing.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "card.yaml").write_text(example)
    facts = read_facts(tmp_path / "card.yaml")
    assert facts.licence and facts.summary and facts.limits and facts.notes and facts.data[0].files


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("licens: MIT", "no field 'licens'; did you mean licence?"),
        ("status: great", "status is 'great', expected one of reproduced"),
        ("data: [{licence: MIT}]", "data: an entry without a name"),
        ("limits: none", "limits is 'none', expected a list of text"),
        ("data: [{name: a, files: [b.npz]}]", "data[0].files holds 'b.npz'"),
        ("evaluations: [evaluations/../secret.json]", "expected evaluations/NAME.json"),
        ("evaluations: [evaluations/gone.json]", "gone.json: no such file"),
        ("notes: {Results: [a]}", "notes: text under a title"),
        ("name: [", "not a card's facts in YAML"),
        ("name: " + "[" * 5000, "not a card's facts in YAML (nested too deeply)"),
    ],
)
def test_wrong_facts_are_refused_in_a_line(run: Path, text: str, said: str) -> None:
    (run / "card.yaml").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        render_card(run)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert "card.yaml" in str(caught.value) or "gone.json" in str(caught.value)


def test_a_card_tells_what_a_new_head_sits_on(tmp_path: Path, tiny: dict[str, list[int]]) -> None:
    """Neither a head that was never trained nor the encoder's history pass for the model's own."""
    base = create_model("i2p_mae_tiny", "pretraining", **tiny)
    folder = save_pretrained(base, tmp_path / "base", provenance={"steps": 77, "seconds": 33.0})
    classifier = from_pretrained(folder, kind="classification", num_classes=3)
    card = render_card(save_pretrained(classifier, tmp_path / "made"))
    assert "| initialised from | `base`; new and random then: the classification head; what it was" in card
    assert "| training since | not recorded: there may have been none |" in card
    assert "33 s" not in card and "77" not in card
    trained = save_pretrained(classifier, tmp_path / "trained", provenance={"steps": 5, "seconds": 9.0})
    card = render_card(trained)
    assert (
        "`base`; new and random then: the classification head |" in card and "| training took | 9 s |" in card
    )


def test_the_base_of_a_card_is_a_repository_if_it_was_one(tmp_path: Path, tiny: dict[str, list[int]]) -> None:
    model = create_model("i2p_mae_tiny", "classification", num_classes=2, **tiny)
    origin = {"name": f"org/base@{'a' * 40}", "kind": "encoder", "new": "the classification head"}
    folder = save_pretrained(model, tmp_path / "made", provenance={"initialised_from": origin})
    stated = yaml.safe_load(render_card(folder).split("---")[1])
    assert stated["base_model"] == "org/base"


def test_a_card_says_how_many_points_were_probed(tmp_path: Path, tiny: dict[str, list[int]]) -> None:
    preprocess = Preprocess(num_points=512)
    folder = tmp_path / "run"
    save_pretrained(create_model("i2p_mae_tiny", preprocess=preprocess, **tiny), folder)
    written(folder / "evaluations" / "linear.json", linear_report())
    assert "The probe uses 1,024 points of each cloud; `embed` uses 512." in render_card(folder)
