"""Weights to the Hub and back: what goes up, what comes down, and what is refused before anybody is asked."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pointmae_zoo import cli, create_model, from_pretrained, push_to_hub, save_pretrained
from pointmae_zoo.evaluate import compare
from pointmae_zoo.hub import HubError
from pointmae_zoo.hub.cards.card import render_for_hub
from pointmae_zoo.hub.cards.release import read_release
from pointmae_zoo.hub.checkpoint.fingerprint import encoder_sha256
from pointmae_zoo.hub.pretrained import BUNDLED
from samples.hub import LoopbackHub, lose_answer
from samples.meshes import box, stl_bytes
from samples.reports import linear_report, written

ROOT = Path(__file__).resolve().parents[2]
NAME = "i2p_mae_tiny.shapes"
# The client sends a large file in a way that its HTTP library will not take for ever.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")
SENT = {
    "model.safetensors",
    "config.json",
    "recipe.yaml",
    "metrics.jsonl",
    "environment.json",
    "card.yaml",
    "evaluations/linear.some.json",
    "README.md",
}


@pytest.fixture
def run(tmp_path: Path, tiny: dict[str, list[int]]) -> Path:
    """A run folder with all that may be in one."""
    torch.manual_seed(0)
    folder = tmp_path / "runs" / "first"
    model = create_model("i2p_mae_tiny", "pretraining", **tiny)
    save_pretrained(model, folder, provenance={"status": "own-recipe", "steps": 20})
    (folder / "recipe.yaml").write_text("model: i2p_mae_tiny\nsteps: 20\n")
    (folder / "metrics.jsonl").write_text('{"step": 10, "loss": 1.0}\n')
    (folder / "environment.json").write_text('{"sessions": []}\n')
    (folder / "preview.png").write_bytes(b"\x89PNG\r\n\x1a\n not really")
    (folder / "card.yaml").write_text("licence: MIT\nlimits: [Only a test.]\n")
    evaluate(folder)
    for kept in ("checkpoints/step-20.pt", "cache/targets.npy", ".lock", ".model.safetensors.7.tmp"):
        (folder / kept).parent.mkdir(exist_ok=True)
        (folder / kept).write_bytes(b"not for others")
    return folder


def evaluate(folder: Path, name: str = "linear.some.json", **changes: Any) -> Path:
    """An evaluation of what is in the folder."""
    found = {"encoder_sha256": [encoder_sha256(from_pretrained(folder, kind="encoder"))], **changes}
    return written(folder / "evaluations" / name, linear_report(**found))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def on_hub(hub: LoopbackHub, repo: str, revision: str = "main") -> dict[str, str]:
    """What the server has: sha256 by name."""
    repository = hub.repository(repo)
    files = repository.files(repository.resolve(revision))
    return {name: file.sha256 for name, file in files.items() if name != ".gitattributes"}


def features(model: Any) -> torch.Tensor:
    points = np.random.default_rng(1).normal(size=(200, 3)).astype(np.float32)
    return getattr(model, "encoder", model).embed(model.config.preprocess([points]))


def test_there_and_back(run: Path, hub: LoopbackHub, tmp_path: Path) -> None:
    """By name and by commit, without the local copy, and from the cache when the server is gone."""
    from huggingface_hub import snapshot_download

    before, wanted = contents(run), features(from_pretrained(run))
    done = push_to_hub(run, "org/shapes", token=hub.token)
    assert contents(run) == before  # nothing is changed here
    sent = on_hub(hub, "org/shapes")
    assert set(sent) == SENT
    assert sent == {file.name: file.sha256 for file in done.files}
    for name in SENT - {"README.md"}:
        assert sent[name] == hashlib.sha256(before[name]).hexdigest(), name
    commits = hub.repository("org/shapes").history("main")
    assert len(commits) == 2 and commits[0][0] == done.commit  # the empty repository, and ours
    shutil.rmtree(run)

    for name in ("org/shapes", f"org/shapes@{done.commit}", done.name):
        assert torch.equal(features(from_pretrained(name, kind="encoder")), wanted)
    pulled = Path(snapshot_download("org/shapes", local_dir=tmp_path / "pulled"))
    for name in SENT - {"README.md"}:
        assert (pulled / name).read_bytes() == before[name], name
    assert (
        (pulled / "README.md").read_text() == done.card == render_for_hub(read_release(pulled), "org/shapes")
    )
    hub.stop()
    assert torch.equal(features(from_pretrained("org/shapes")), wanted)


def test_the_snippets_of_a_card_run(
    run: Path, hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they stand there, in a folder with a clone of the package and a shape."""
    card = push_to_hub(run, "org/shapes", token=hub.token).card
    (tmp_path / "pointmae-zoo").symlink_to(ROOT)
    (tmp_path / "part.stl").write_bytes(stl_bytes(np.asarray(box().triangles)))
    monkeypatch.chdir(tmp_path)
    python, through_torch = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    found: dict[str, Any] = {}
    exec(python, found)
    (line,) = re.findall(r"^encoder\.embed.*# \(1, (\d+)\)", python, re.MULTILINE)
    assert found["encoder"].embed(found["clouds"]).shape == (1, int(line))
    again: dict[str, Any] = {}
    exec(through_torch, again)
    assert torch.equal(features(again["encoder"]), features(found["encoder"]))
    with pytest.raises(ValueError, match="org/shapes: holds i2p_mae_tiny, not i2p_mae_base"):
        torch.hub.load("pointmae-zoo", "i2p_mae_base", source="local", pretrained="org/shapes")
    (command,) = re.findall(r"^pointmae-zoo (.*)", card, re.MULTILINE)
    (tmp_path / "parts").mkdir()
    shutil.move("part.stl", "parts")
    assert cli.main(command.split()) == 0
    assert np.load("features.npz")["features"].shape == (1, int(line))


def test_the_card_is_true(run: Path, hub: LoopbackHub) -> None:
    from huggingface_hub import ModelCard

    push_to_hub(run, "org/shapes", token=hub.token)
    card = ModelCard.load("org/shapes")
    assert card.data.license == "mit" and card.data.model_name == "shapes"
    report = json.loads((run / "evaluations" / "linear.some.json").read_text())
    numbers = {one.metric_name: one.metric_value for one in card.data.eval_results or []}
    assert numbers["accuracy (%), linear SVM"] == report["summary"][0]["test_mean"] == 81.23
    assert numbers["accuracy (%), 10-way 10-shot"] == 70.0
    assert 'from_pretrained("org/shapes", kind="encoder")' in card.text and "- Only a test." in card.text


def test_a_second_push_removes_what_is_gone_and_leaves_what_is_not_ours(run: Path, hub: LoopbackHub) -> None:
    first = push_to_hub(run, "org/shapes", token=hub.token)
    assert first.replaced == first.deleted == []
    by_hand = {"NOTES.txt": b"by hand", "evaluations/old.json": b"{}", "README.md": b"by hand"}
    hub.commit("org/shapes", by_hand)
    again = push_to_hub(run, "org/shapes", token=hub.token)
    assert set(on_hub(hub, "org/shapes")) == SENT | {"NOTES.txt"} and again.changed
    assert (again.replaced, again.deleted) == (["README.md"], ["evaluations/old.json"])
    same = push_to_hub(run, "org/shapes", token=hub.token)
    assert not same.changed and same.commit == again.commit != first.commit
    assert same.replaced == same.deleted == []
    (run / "metrics.jsonl").unlink()
    shutil.rmtree(run / "evaluations")
    push_to_hub(run, "org/shapes", token=hub.token, commit_message="Without numbers")
    sent = on_hub(hub, "org/shapes")
    assert set(sent) == SENT - {"metrics.jsonl", "evaluations/linear.some.json"} | {"NOTES.txt"}
    history = hub.repository("org/shapes").history("main")
    assert history[0][1]["title"] == "Without numbers"


def test_an_answer_that_got_lost_is_not_asked_for_twice(run: Path, hub: LoopbackHub) -> None:
    hub.order(lose_answer, "/commit/", "POST")
    done = push_to_hub(run, "org/shapes", token=hub.token)
    assert len(hub.repository("org/shapes").history("main")) == 2
    assert done.changed and done.commit == hub.repository("org/shapes").resolve("main")


def test_a_branch(run: Path, hub: LoopbackHub) -> None:
    done = push_to_hub(run, "org/shapes", token=hub.token, branch="try")
    assert set(on_hub(hub, "org/shapes", "try")) == SENT and on_hub(hub, "org/shapes") == {}
    assert torch.equal(features(from_pretrained("org/shapes@try")), features(from_pretrained(run)))
    again = push_to_hub(run, "org/shapes", token=hub.token, branch="try")
    assert not again.changed and again.commit == done.commit


def test_a_pull_request(run: Path, hub: LoopbackHub) -> None:
    """Of somebody who may not write."""
    with pytest.raises(HubError, match="no such repository"):
        push_to_hub(run, "alice/shapes", token=hub.stranger_token, create_pr=True)
    hub.create("alice/shapes", {"README.md": b"mine"})
    done = push_to_hub(run, "alice/shapes", token=hub.stranger_token, create_pr=True)
    assert done.pull_request == f"{hub.url}/alice/shapes/discussions/1"
    assert set(on_hub(hub, "alice/shapes")) == {"README.md"}
    assert set(on_hub(hub, "alice/shapes", "refs/pr/1")) == SENT
    assert torch.equal(features(from_pretrained(done.name)), features(from_pretrained(run)))


def test_private_means_private(run: Path, hub: LoopbackHub) -> None:
    push_to_hub(run, "org/hidden", token=hub.token, private=True)
    assert hub.repository("org/hidden").settings["private"] is True
    with pytest.raises(HubError, match="private one"):
        from_pretrained("org/hidden")
    assert torch.equal(
        features(from_pretrained("org/hidden", token=hub.token)), features(from_pretrained(run))
    )
    push_to_hub(run, "org/hidden", token=hub.token)  # as it is
    hub.create("org/open", {"README.md": b"everybody reads this"})
    with pytest.raises(ValueError, match="is there and public, not private; nothing was sent"):
        push_to_hub(run, "org/open", token=hub.token, private=True)
    assert set(on_hub(hub, "org/open")) == {"README.md"} and not hub.asked("/preupload/org/open")


def test_a_plain_folder_of_weights(tmp_path: Path, tiny: dict[str, list[int]], hub: LoopbackHub) -> None:
    model = create_model("i2p_mae_tiny", "classification", num_classes=3, labels=("a", "b", "c"), **tiny)
    folder = save_pretrained(model, tmp_path / "plain")
    push_to_hub(folder, "org/plain", token=hub.token)
    assert set(on_hub(hub, "org/plain")) == {"model.safetensors", "config.json", "README.md"}
    loaded = from_pretrained("org/plain")
    assert loaded.config.labels == ("a", "b", "c")
    assert torch.equal(features(loaded), features(from_pretrained(folder)))


def test_the_bundled_weights_get_the_bundled_card(hub: LoopbackHub) -> None:
    done = push_to_hub(BUNDLED / NAME, "org/mirror", token=hub.token, card=ROOT / f"model_cards/{NAME}.yaml")
    # The page is the committed one; the front matter also has the results, as the Hub wants them.
    front, page = done.card.split("\n---\n", 1)
    committed = (ROOT / "model_cards" / f"{NAME}.md").read_bytes().decode()
    assert committed.endswith(f"\n---\n{page}") and "model-index:" in front and "model-index" not in committed
    sent = on_hub(hub, "org/mirror")
    assert "evaluations/ablations.i2p_mae_tiny.json" in sent and "card.yaml" in sent
    assert torch.equal(features(from_pretrained("org/mirror")), features(from_pretrained(NAME)))


def test_paths_into_home_folders_stay_here(
    run: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import hf_hub_download

    monkeypatch.setenv("HOME", "/srv/people/ada")
    recipe = "data: [/srv/people/ada/shapes, /home/bob/more, /srv/people/adam/x, C:\\Users\\Eve\\y]\n"
    (run / "recipe.yaml").write_text(recipe)
    done = push_to_hub(run, "org/shapes", token=hub.token)
    sent = Path(hf_hub_download("org/shapes", "recipe.yaml")).read_text(encoding="utf-8")
    assert sent == "data: [~/shapes, ~/more, /srv/people/adam/x, ~\\y]\n"
    assert (run / "recipe.yaml").read_text() == recipe
    assert [file.name for file in done.files if file.cleaned] == ["recipe.yaml"]


def spoil_weights(run: Path) -> None:
    path = run / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")


def blow_up(run: Path) -> None:
    model = from_pretrained(run)
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.fill_(3e38)
    save_pretrained(model, run)


def another_model(run: Path) -> None:
    torch.manual_seed(1)
    fresh = create_model("i2p_mae_tiny", "pretraining", **from_pretrained(run).config.arguments)
    save_pretrained(fresh, run)


def add_secret(name: str, secret: str) -> Any:
    def change(run: Path) -> None:
        path = run / name
        path.write_text(path.read_text() + f"# {secret}\n")

    return change


def link_out(name: str) -> Any:
    def change(run: Path) -> None:
        outside = run.parent / "outside" / name
        outside.parent.mkdir(parents=True, exist_ok=True)
        (run / name).rename(outside)
        (run / name).symlink_to(outside)

    return change


def exchange_preview(run: Path) -> None:
    (run / "preview.png").unlink()
    (run / "preview.png").symlink_to("/etc/passwd")


def no_file(run: Path) -> None:
    (run / "recipe.yaml").unlink()
    os.mkfifo(run / "recipe.yaml")


def compare_others(run: Path) -> None:
    others = [
        written(run.parent / f"{one}.json", linear_report(encoder_sha256=[one * 64])) for one in ("1", "2")
    ]
    compare(others, run / "evaluations" / "compared.json")


SECRET = "hf_" + "a1B2" * 9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: (run / "model.safetensors").unlink(), "a run that has not finished"),
        (lambda run: (run / "config.json").unlink(), "config.json expected, as save_pretrained writes them"),
        (lambda run: shutil.rmtree(run), "no such folder"),
        (spoil_weights, "damaged or exchanged"),
        (blow_up, "are no finite numbers"),
        (another_model, "linear.some.json: measured other weights"),
        (lambda run: evaluate(run, encoder_sha256=["0" * 64]), "linear.some.json: measured other weights"),
        (lambda run: (run / "evaluations/linear.some.json").write_text("{}"), "summary is missing"),
        (lambda run: (run / "card.yaml").write_text("limit: [a]"), "no field 'limit'; did you mean limits"),
        (add_secret("recipe.yaml", SECRET), "recipe.yaml: line 3 holds what looks like a token"),
        (add_secret("metrics.jsonl", "https://me:pass@host/x"), "metrics.jsonl: line 2 holds what looks"),
        (add_secret("environment.json", "known-to-be-secret"), "environment.json: line 2 holds what"),
        (link_out("model.safetensors"), "model.safetensors: a link to something outside of"),
        (link_out("config.json"), "config.json: a link to something outside of"),
        (link_out("recipe.yaml"), "recipe.yaml: a link to something outside of"),
        (link_out("card.yaml"), "card.yaml: a link to something outside of"),
        (link_out("evaluations"), "linear.some.json: a link to something outside of"),
        (no_file, "recipe.yaml: a regular file expected"),
        (compare_others, "compared.json: measured other weights"),
        (add_secret("card.yaml", "password: hunter22"), "card.yaml: line 3 holds what looks like a token"),
        (add_secret("card.yaml", "/home/ada/shapes"), "card.yaml: line 3 names somebody's home folder"),
    ],
)
def test_refused_before_anybody_is_asked(run: Path, hub: LoopbackHub, change: Any, said: str) -> None:
    change(run)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        push_to_hub(run, "org/shapes", token="known-to-be-secret")
    text = str(caught.value)
    assert said in text and "\n" not in text and SECRET not in text and "known-to-be-secret" not in text
    assert hub.requests == []


@pytest.mark.parametrize(
    ("repo", "options", "said"),
    [
        ("shapes", {}, "org/repo expected"),
        ("org/shapes@main", {}, "a branch is given as branch"),
        ("org/sha pes", {}, "org/repo expected"),
        ("a/b/c", {}, "org/repo expected"),
        ("org/shapes", {"branch": "two words"}, "a branch, a tag or a commit expected"),
        ("org/shapes", {"branch": ""}, "a branch, a tag or a commit expected"),
        ("org/shapes", {"branch": "x", "create_pr": True}, "choose one of them"),
        ("org/shapes", {"tag": "two words"}, "a branch, a tag or a commit expected"),
        ("org/shapes", {"tag": "v1", "create_pr": True}, "a pull request is no version yet"),
        ("org/shapes", {"token": "two words"}, "characters that no token has"),
        ("org/shapes", {"token": None}, "not logged in; log in with 'hf auth login'"),
    ],
)
def test_wrong_arguments(run: Path, hub: LoopbackHub, repo: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        push_to_hub(run, repo, **{"token": hub.token, **options})
    assert hub.requests == []


def test_old_evaluations_count_for_weights_of_the_registry_alone(run: Path, hub: LoopbackHub) -> None:
    """Those from before they said which weights they measured."""
    path = run / "evaluations" / "linear.some.json"
    report = json.loads(path.read_text())
    del report["context"]["encoder_sha256"]
    report["context"]["models"] = [NAME]
    path.write_text(json.dumps(report))
    with pytest.raises(ValueError, match="measured other weights"):
        push_to_hub(run, "org/shapes", dry_run=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (exchange_preview, "preview.png: a link to something outside of"),
        (lambda run: (run / "preview.png").write_bytes(b"-----BEGIN"), "preview.png: no PNG image"),
    ],
)
def test_a_preview_is_checked_if_it_is_asked_for(run: Path, change: Any, said: str) -> None:
    change(run)
    push_to_hub(run, "org/shapes", dry_run=True)
    with pytest.raises(ValueError, match=re.escape(said)):
        push_to_hub(run, "org/shapes", dry_run=True, preview=True)


def test_a_picture_of_training_shapes_goes_up_only_when_asked_for(run: Path, hub: LoopbackHub) -> None:
    """Neither the picture nor a place for it in the card; and a push without it takes it away again."""
    for preview in (False, True, False):
        done = push_to_hub(run, "org/shapes", token=hub.token, preview=preview)
        assert ("preview.png" in on_hub(hub, "org/shapes")) is preview
        assert ("preview.png" in done.card) is preview
    assert done.deleted == ["preview.png"]


def transformers_config(name: str = "config.json") -> dict[str, bytes]:
    return {name: b'{"model_type": "bert", "architectures": ["BertModel"]}', "README.md": b"Not yours."}


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (transformers_config(), "config.json: field 'format_version'"),
        ({"config.json": b"{not JSON"}, "config.json: "),
        ({"config.json": b" " * (1 << 21)}, "config.json of 2,097,152 bytes"),
        ({"model.safetensors": b"weights"}, "model.safetensors without config.json"),
    ],
)
def test_a_model_of_another_library_is_not_replaced(
    run: Path, hub: LoopbackHub, there: dict[str, bytes], why: str
) -> None:
    hub.create("org/other", there)
    before = on_hub(hub, "org/other")
    for options in ({}, {"branch": "mine"}, {"create_pr": True}, {"tag": "v1"}):
        with pytest.raises(ValueError, match="holds a model that pointmae-zoo did not store") as caught:
            push_to_hub(run, "org/other", token=hub.token, **options)
        assert why in str(caught.value) and "--force" in str(caught.value) and "\n" not in str(caught.value)
    assert on_hub(hub, "org/other") == before and hub.repository("org/other").refs("heads").keys() == {"main"}
    push_to_hub(run, "org/other", token=hub.token, force=True)
    assert set(on_hub(hub, "org/other")) == SENT
    push_to_hub(run, "org/other", token=hub.token)  # it is ours now


def test_a_branch_of_ours_beside_another_model(run: Path, hub: LoopbackHub) -> None:
    """What counts is what the push would replace."""
    hub.create("org/shapes", {"README.md": b"To be filled."})
    push_to_hub(run, "org/shapes", token=hub.token, branch="ours")
    hub.commit("org/shapes", transformers_config())
    assert not push_to_hub(run, "org/shapes", token=hub.token, branch="ours").changed
    with pytest.raises(ValueError, match="did not store"):
        push_to_hub(run, "org/shapes", token=hub.token)


def test_a_tag_names_a_version_for_good(run: Path, hub: LoopbackHub) -> None:
    first = push_to_hub(run, "org/shapes", token=hub.token, tag="v1")
    assert hub.repository("org/shapes").refs("tags") == {"v1": first.commit} and first.tag == "v1"
    again = push_to_hub(run, "org/shapes", token=hub.token, tag="v1")  # nothing has changed
    assert again.commit == first.commit
    before = features(from_pretrained("org/shapes@v1"))
    another_model(run)
    shutil.rmtree(run / "evaluations")
    with pytest.raises(ValueError, match=f"tag v1 is there already, for commit {first.commit}; nothing was"):
        push_to_hub(run, "org/shapes", token=hub.token, tag="v1")
    assert hub.repository("org/shapes").resolve("main") == first.commit
    second = push_to_hub(run, "org/shapes", token=hub.token, tag="v2")
    assert hub.repository("org/shapes").refs("tags") == {"v1": first.commit, "v2": second.commit}
    assert torch.equal(features(from_pretrained("org/shapes@v1")), before)
    assert not torch.equal(features(from_pretrained("org/shapes@v2")), before)


def test_a_tag_whose_answer_got_lost(run: Path, hub: LoopbackHub) -> None:
    hub.order(lose_answer, "/tag/", "POST")
    done = push_to_hub(run, "org/shapes", token=hub.token, branch="try", tag="v1")
    assert hub.repository("org/shapes").refs("tags") == {"v1": done.commit}
    assert on_hub(hub, "org/shapes") == {} and set(on_hub(hub, "org/shapes", "v1")) == SENT


def test_links_within_the_folder_are_followed(run: Path) -> None:
    (run / "pictures").mkdir()
    (run / "preview.png").rename(run / "pictures" / "last.png")
    (run / "preview.png").symlink_to("pictures/last.png")
    pushed = push_to_hub(run, "org/shapes", dry_run=True, preview=True)
    content = {file.name: file.content for file in pushed.files}["preview.png"]
    assert content == (run / "pictures" / "last.png").read_bytes()


def test_a_comparison_with_a_row_of_these_weights(run: Path) -> None:
    other = written(run.parent / "other.json", linear_report(encoder_sha256=["1" * 64]))
    compare([other, run / "evaluations" / "linear.some.json"], run / "evaluations" / "compared.json")
    pushed = push_to_hub(run, "org/shapes", dry_run=True)
    assert "## Beside other weights" in pushed.card
    assert "evaluations/compared.json" in {file.name for file in pushed.files}


def test_a_comparison_of_others_that_a_person_lists(run: Path) -> None:
    compare_others(run)
    (run / "card.yaml").write_text("evaluations: [evaluations/linear.some.json, evaluations/compared.json]\n")
    assert "## Beside other weights" in push_to_hub(run, "org/shapes", dry_run=True).card


def push(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = cli.main(["push", *map(str, words)])
    found = capsys.readouterr()
    return code, found.out, found.err


def test_ctrl_c_says_what_may_be_there(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pointmae_zoo.hub.push.push_to_hub", stopped)
    code, _, error = push(capsys, run, "org/shapes")
    assert code == 130 and "org/shapes: stopped in the middle: the repository may be there" in error


def test_dry_run_asks_nobody(run: Path, hub: LoopbackHub, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = push(capsys, run, "org/shapes", "--dry-run", "--private")
    assert code == 0 and hub.requests == []
    assert {line.split()[0] for line in said.splitlines() if "bytes" in line and "sha256" in line} == SENT
    weights = (run / "model.safetensors").read_bytes()
    assert re.search(rf"model\.safetensors +{len(weights):,} bytes +sha256 ", said)
    assert hashlib.sha256(weights).hexdigest() in said
    assert "recipe.yaml, metrics.jsonl" in said and "evaluations/*.json deleted" in said
    assert render_for_hub(read_release(run), "org/shapes") in said and said.endswith(
        "nothing was sent to org/shapes\n"
    )


def test_command_line(
    run: Path, hub: LoopbackHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, error = push(capsys, run, "org/shapes")
    assert (
        code == 2
        and error == "error: org/shapes: not logged in; log in with 'hf auth login' or set HF_TOKEN\n"
    )
    monkeypatch.setenv("HF_TOKEN", hub.token)
    code, said, error = push(capsys, run, "org/shapes", "--private", "--message", "By hand", "--tag", "v1")
    assert code == 0 and hub.token not in said + error
    assert 'by its tag: pointmae_zoo.from_pretrained("org/shapes@v1")' in said
    assert "preview.png stays here" in said
    commit = hub.repository("org/shapes").resolve("main")
    assert f"commit: {hub.url}/org/shapes/commit/{commit} (private)" in said
    (load,) = re.findall(r"load it: pointmae_zoo\.from_pretrained\(\"(.*)\"\)", said)
    assert load == f"org/shapes@{commit}"
    assert torch.equal(features(from_pretrained(load)), features(from_pretrained(run)))
    assert "nothing to change" in push(capsys, run, "org/shapes")[1]
    assert "no card.yaml" not in said and "replaced" not in said and "deleted" not in said
    hub.commit("org/shapes", {"evaluations/old.json": b"{}", "README.md": b"by hand"})
    said = push(capsys, run, "org/shapes", "--preview")[1]
    assert "stays here" not in said and "preview.png" in on_hub(hub, "org/shapes")
    assert "replaced there: README.md\n" in said and "deleted there: evaluations/old.json\n" in said
    for name in ("metrics.jsonl", "card.yaml"):
        (run / name).unlink()
    code, said, _ = push(capsys, run, "org/shapes", "--pr")
    assert f"no card.yaml in {run}, so the card states neither licence nor data" in said
    assert code == 0 and f"pull request: {hub.url}/org/shapes/discussions/1" in said
