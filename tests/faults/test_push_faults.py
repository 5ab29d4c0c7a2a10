"""The way out to a Hub that fails: the right words, nothing lost here or half there, no commit twice."""

import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pointmae_zoo import create_model, from_pretrained, push_to_hub, save_pretrained
from pointmae_zoo.hub import HubError, client
from samples.hub import LoopbackHub, after, hang_up, lose_answer, refuse
from samples.hub.messages import Answer

REPO = "org/model"
# The requests of a push in their order, as (part of the path, method).
STEPS = {
    "repository": ("/api/repos/create", "POST"),
    "listing": ("/api/models/", "GET"),
    "card": ("/api/validate-yaml", "POST"),
    "what is there": ("/preupload/", "POST"),
    "large files, where": ("/lfs/objects/batch", "POST"),
    "large files": ("/lfs-upload/", "PUT"),
    "large files, checked": ("/lfs/objects/verify", "POST"),
    "commit": ("/commit/", "POST"),
}
# The client sends a large file in a way that its HTTP library will not take for ever.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    small = {"num_tokens": (32, 8), "num_neighbors": (8, 4), "dims": (12, 24), "depths": (1, 1)}
    model = create_model("i2p_mae_tiny", "encoder", **small, num_heads=3, stem_widths=(8, 16))
    return save_pretrained(model, tmp_path / "run")


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(autouse=True)
def nothing_is_lost_or_told(no_token_told: None, hub: LoopbackHub, folder: Path) -> Iterator[None]:
    """The folder stays as it is, and no token appears in it or in the repository."""
    before = contents(folder)
    yield
    assert contents(folder) == before
    for token in hub.users:
        assert not any(token.encode() in content for content in before.values())
        repository = hub.repository(REPO)
        if repository.exists():
            assert not any(token.encode() in repository.content(path) for path in repository.files("main"))


def refused(hub: LoopbackHub, folder: Path, pattern: str, **options: object) -> None:
    """In one line that names the repository, holds no token, and comes soon."""
    started = time.monotonic()
    with pytest.raises((OSError, ValueError), match=pattern) as caught:
        push_to_hub(folder, REPO, **options)
    message = str(caught.value)
    assert "\n" not in message and REPO in message, message
    told = "".join(traceback.format_exception(caught.value))
    assert not any(token in told for token in hub.users)
    assert time.monotonic() - started < client.PATIENCE


def titles(hub: LoopbackHub, revision: str = "main") -> list[str]:
    """Of the commits, the oldest first, without that of the repository's creation."""
    return [commit["title"] for _, commit in reversed(hub.repository(REPO).history(revision))][1:]


def nothing_is_there(hub: LoopbackHub) -> None:
    repository = hub.repository(REPO)
    assert not repository.exists() or (
        set(repository.files("main")) == {".gitattributes"} and not titles(hub)
    )


def all_is_there(hub: LoopbackHub, folder: Path) -> None:
    """One commit with every file of the folder, and it loads."""
    repository = hub.repository(REPO)
    assert len(titles(hub)) == 1
    for path in ("model.safetensors", "config.json"):
        assert repository.content(path) == (folder / path).read_bytes()
    assert repository.files("main")["model.safetensors"].lfs
    assert b"\n---\n" in repository.content("README.md")
    assert torch.equal(*(next(from_pretrained(source).parameters()) for source in (folder, REPO)))


REFUSALS = {
    "a wrong token": (refuse(401, "Invalid credentials in Authorization header"), "log in"),
    "forbidden": (refuse(403, "Forbidden"), "may not write"),
    "a wrong name": (refuse(404, "Repository not found", "RepoNotFound"), "check the name"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("refusal", REFUSALS)
def test_the_words_for_a_refusal(hub: LoopbackHub, folder: Path, step: str, refusal: str) -> None:
    fault, words = REFUSALS[refusal]
    hub.order(fault, *STEPS[step], times=None)
    refused(hub, folder, words)
    nothing_is_there(hub)


@pytest.mark.parametrize("step", STEPS)
def test_what_was_refused_goes_up_later(hub: LoopbackHub, folder: Path, step: str) -> None:
    hub.order(REFUSALS["forbidden"][0], *STEPS[step])
    refused(hub, folder, "may not write")
    push_to_hub(folder, REPO)
    all_is_there(hub, folder)


def test_who_may_not_write(hub: LoopbackHub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(hub, folder, "may not write", token=hub.read_token)
    refused(hub, folder, "may not write", token=hub.stranger_token)
    refused(hub, folder, "log in", token="hf_" + "0" * 34)
    monkeypatch.delenv("HF_TOKEN")
    refused(hub, folder, "log in")
    nothing_is_there(hub)
    hub.create(REPO, {"README.md": b"Theirs"}, private=True)
    refused(hub, folder, "check the name|may not write", token=hub.stranger_token)
    assert hub.repository(REPO).content("README.md") == b"Theirs"


PASSING = {
    "busy": refuse(429, "Slow down", Retry_After="0"),
    "failing": refuse(500, "Oops"),
    "hung up": hang_up,
}


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        *(("repository", "busy"), ("repository", "hung up"), ("listing", "failing"), ("card", "failing")),
        *(("card", "hung up"), ("what is there", "busy"), ("large files, where", "failing")),
        *(("large files", "busy"), ("large files", "hung up"), ("large files, checked", "failing")),
        *(("commit", "busy"), ("commit", "failing"), ("commit", "hung up")),
    ],
)
def test_what_may_pass_is_tried_again(hub: LoopbackHub, folder: Path, step: str, fault: str) -> None:
    hub.order(PASSING[fault], *STEPS[step])
    push_to_hub(folder, REPO)
    assert hub.orders == []
    all_is_there(hub, folder)


@pytest.mark.parametrize("step", ["repository", "large files", "commit"])
def test_a_lost_answer_makes_no_second_commit(hub: LoopbackHub, folder: Path, step: str) -> None:
    hub.order(lose_answer, *STEPS[step])
    pushed = push_to_hub(folder, REPO, private=True)
    all_is_there(hub, folder)
    assert pushed.commit == hub.repository(REPO).resolve("main")
    assert hub.repository(REPO).settings["private"]


@pytest.mark.parametrize("fault", PASSING)
def test_a_branch_is_made_once(hub: LoopbackHub, folder: Path, fault: str) -> None:
    for lost in (PASSING[fault], lose_answer):
        hub.order(lost, "/branch/", "POST")
    pushed = push_to_hub(folder, REPO, branch="try")
    repository = hub.repository(REPO)
    assert hub.orders == [] and titles(hub) == [] and len(titles(hub, "try")) == 1
    assert repository.resolve("try") == pushed.commit
    assert repository.content("config.json", "try") == (folder / "config.json").read_bytes()


def test_a_lost_answer_makes_no_second_pull_request(hub: LoopbackHub, folder: Path) -> None:
    hub.create(REPO, {"README.md": b"Theirs"})
    hub.order(lose_answer, *STEPS["commit"])
    refused(hub, folder, "/discussions tells whether it was opened", create_pr=True)
    repository = hub.repository(REPO)
    assert list(repository.refs("pr")) == ["1"]
    assert repository.content("config.json", "refs/pr/1") == (folder / "config.json").read_bytes()
    assert repository.content("README.md") == b"Theirs"


def test_what_does_not_pass_is_given_up(hub: LoopbackHub, folder: Path) -> None:
    for fault, words in ((refuse(500, "Oops"), "failing.*later"), (hang_up, "later")):
        hub.order(fault, *STEPS["repository"], times=None)
        refused(hub, folder, words)
        hub.orders.clear()
    hub.order(refuse(429, "Slow down", Retry_After="3600"), *STEPS["repository"], times=None)
    refused(hub, folder, "try again in 3600 s")
    nothing_is_there(hub)
    hub.orders.clear()
    hub.stop()
    refused(hub, folder, "cannot be reached")
    hub.start()
    push_to_hub(folder, REPO)
    all_is_there(hub, folder)


def test_a_server_that_dies_after_it_took_the_commit(hub: LoopbackHub, folder: Path) -> None:
    hub.order(after(hub.stop), *STEPS["commit"])
    refused(hub, folder, "cannot be reached|failed")
    head = hub.repository(REPO).resolve("main")
    hub.start()
    pushed = push_to_hub(folder, REPO)
    assert (pushed.commit, pushed.changed) == (head, False)
    all_is_there(hub, folder)


def test_a_change_in_between_is_not_overwritten(hub: LoopbackHub, folder: Path) -> None:
    """Somebody else's commit between our look at the repository and our own commit."""
    hub.create(REPO, {"notes.md": b"First"})

    def change() -> None:
        hub.commit(REPO, {"notes.md": b"Second", "config.json": b"Theirs"})

    hub.order(after(change), *STEPS["commit"])
    refused(hub, folder, "has changed meanwhile .HTTP 412.; nothing was overwritten, push again")
    repository = hub.repository(REPO)
    assert repository.content("config.json") == b"Theirs"
    push_to_hub(folder, REPO, force=True)
    assert repository.content("notes.md") == b"Second"
    assert repository.content("config.json") == (folder / "config.json").read_bytes()


@pytest.mark.parametrize("status", [500, 504])
def test_a_change_between_two_attempts_is_not_overwritten(
    hub: LoopbackHub, folder: Path, status: int
) -> None:
    """The first attempt fails, and somebody else's commit comes before the second."""
    hub.create(REPO, {"notes.md": b"First"})

    def change_and_fail(answer: Callable[[], Answer]) -> Answer:
        hub.commit(REPO, {"config.json": b"Theirs"})
        return refuse(status, "Oops")(answer)

    hub.order(change_and_fail, *STEPS["commit"])
    refused(hub, folder, "has changed meanwhile.*push again")
    assert hub.repository(REPO).content("config.json") == b"Theirs"
    push_to_hub(folder, REPO, force=True)
    assert hub.repository(REPO).content("config.json") == (folder / "config.json").read_bytes()


@pytest.mark.parametrize("options", [{}, {"create_pr": True}, {"branch": "try"}])
def test_weights_that_change_on_the_way_are_not_sent(
    hub: LoopbackHub, folder: Path, options: dict[str, Any]
) -> None:
    """What was checked is what goes up, or nothing does."""
    hub.create(REPO, {"notes.md": b"First"})
    path = folder / "model.safetensors"
    content = path.read_bytes()
    for change in (lambda: path.write_bytes(content[:-1] + b"\0"), path.unlink):
        hub.order(after(change), *STEPS["listing"])
        with pytest.raises(
            ValueError, match="changed while it was being pushed; nothing was commi"
        ) as caught:
            push_to_hub(folder, REPO, **options)
        assert str(path) in str(caught.value)
        path.write_bytes(content)
    assert set(hub.repository(REPO).files("main")) == {".gitattributes", "notes.md"}
    assert not hub.repository(REPO).refs("pr") and not hub.asked("/preupload/")


def test_weights_that_go_away_on_the_way(hub: LoopbackHub, folder: Path) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    hub.order(after(path.unlink), *STEPS["large files, where"])
    refused(hub, folder, r"model\.safetensors: went away while it was being pushed")
    path.write_bytes(content)
    nothing_is_there(hub)


def test_only_the_card_is_said_not_to_be_taken(hub: LoopbackHub, folder: Path) -> None:
    """Bad request: of the step that checks the card, and of the others."""
    for step in ("what is there", "large files, where", "commit"):
        hub.order(refuse(400, "Bad request"), *STEPS[step])
        with pytest.raises(HubError, match="HTTP 400") as caught:
            push_to_hub(folder, REPO)
        assert "card" not in str(caught.value) and REPO in str(caught.value)
    hub.order(refuse(400, "Bad metadata"), *STEPS["card"])
    refused(hub, folder, "does not take the card")
    nothing_is_there(hub)
