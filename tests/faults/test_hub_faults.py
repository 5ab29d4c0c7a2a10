"""The way in from a Hub that fails: the right words, no half or wrong file, and patience where it helps."""

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pointmae_zoo import from_pretrained
from pointmae_zoo.hub import client, snapshot
from samples.hub import (
    LoopbackHub,
    after,
    cut,
    hang_up,
    refuse,
    slow,
    stall,
    with_body,
    with_content,
    with_etag,
)
from samples.models import equal, files_of, small

REPO = "org/model"
pytestmark = pytest.mark.usefixtures("no_token_told")
Models = list[tuple[Path, dict[str, bytes]]]
FILES = ("config.json", "model.safetensors")
# The steps of a load, as (part of the path, method): what is there; where each file is, and what is in it.
STEPS = {
    "listing": ("/api/models/", "GET"),
    "config, where": ("config.json", "HEAD"),
    "config": ("config.json", "GET"),
    "weights, where": ("model.safetensors", "HEAD"),
    "weights": ("/cdn/", "GET"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Two models of the same architecture with different weights: their folders and files."""
    folders = [tmp_path_factory.mktemp("model") for _ in range(2)]
    return [(folder, files_of(small(seed), folder)) for seed, folder in enumerate(folders)]


def same(model: Any, folder: Path) -> bool:
    return equal(model, from_pretrained(folder))


def refused(
    hub: LoopbackHub, pattern: str, load: Callable[[], object] = lambda: from_pretrained(REPO)
) -> None:
    """In one line that names the repository, holds no token, and comes soon."""
    started = time.monotonic()
    with pytest.raises((OSError, ValueError), match=pattern) as caught:
        load()
    message = str(caught.value)
    assert "\n" not in message and REPO in message, message
    told = "".join(traceback.format_exception(caught.value))
    assert not any(token in told for token in hub.users)
    assert time.monotonic() - started < client.PATIENCE


def nothing_is_cached() -> None:
    """What is in the cache is not enough to load from."""
    with pytest.raises((OSError, ValueError)):
        from_pretrained(REPO, local_files_only=True)


REFUSALS = {
    "a wrong token": (refuse(401, "Invalid credentials in Authorization header"), "log in"),
    "no token": (refuse(401, "Repository not found", "RepoNotFound"), "check the name.*log in"),
    "a wrong name": (refuse(404, "Repository not found", "RepoNotFound"), "check the name"),
    "gated": (refuse(403, "Access is restricted", "GatedRepo"), "ask for access at http.*/org/model"),
    "forbidden": (refuse(403, "Forbidden"), "token that may"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("refusal", REFUSALS)
def test_the_words_for_a_refusal(hub: LoopbackHub, models: Models, step: str, refusal: str) -> None:
    hub.create(REPO, dict(models[0][1]))
    fault, words = REFUSALS[refusal]
    hub.order(fault, *STEPS[step], times=None)
    refused(hub, words)
    hub.orders.clear()
    nothing_is_cached()
    assert same(from_pretrained(REPO), models[0][0])


PASSING = {
    "busy": refuse(429, "Slow down", Retry_After="0"),
    "failing": refuse(500, "Oops"),
    "hung up": hang_up,
    "cut": cut(100),
    "reset": cut(100, reset=True),
}


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        *(("listing", "busy"), ("listing", "failing"), ("listing", "hung up"), ("listing", "reset")),
        *(("config, where", "busy"), ("config, where", "failing"), ("config", "cut"), ("config", "failing")),
        *(("weights, where", "hung up"), ("weights", "busy"), ("weights", "failing"), ("weights", "hung up")),
        *(("weights", "cut"), ("weights", "reset")),
    ],
)
def test_what_may_pass_is_tried_again(hub: LoopbackHub, models: Models, step: str, fault: str) -> None:
    hub.create(REPO, dict(models[0][1]))
    hub.order(PASSING[fault], *STEPS[step])
    assert same(from_pretrained(REPO), models[0][0])
    assert hub.orders == []


def test_what_does_not_pass_is_given_up(hub: LoopbackHub, models: Models) -> None:
    hub.create(REPO, dict(models[0][1]))
    hub.order(hang_up, *STEPS["listing"], times=None)
    refused(hub, "try again later")
    assert len(hub.requests) == client.ATTEMPTS
    hub.orders.clear()
    hub.order(cut(1000, reset=True), *STEPS["weights"], times=None)
    refused(hub, "try again later")
    nothing_is_cached()
    hub.orders.clear()
    assert same(from_pretrained(REPO), models[0][0])


def test_a_slow_link_is_no_reason_to_give_up(hub: LoopbackHub, models: Models) -> None:
    hub.create(REPO, dict(models[0][1]))
    hub.order(slow(0.05), *STEPS["weights"])
    assert same(from_pretrained(REPO), models[0][0])


def test_a_link_that_stalls(hub: LoopbackHub, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.create(REPO, dict(models[0][1]))
    monkeypatch.setattr(snapshot, "_TIMEOUT", 0.5)
    hub.order(stall(2.0), *STEPS["listing"], times=None)
    refused(hub, "try again later")
    hub.orders.clear()
    hub.order(stall(2.0), *STEPS["listing"])
    assert same(from_pretrained(REPO), models[0][0])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["wrong content", "wrong ETag and content", "another file", "too short"])
def test_a_wrong_file_is_refused_and_not_kept(hub: LoopbackHub, models: Models, name: str, how: str) -> None:
    """Each of them is a file of the same kind that would load without a word, if nobody looked."""
    files, other = models[0][1], models[1][1][name]
    sha = hub.create(REPO, dict(files))
    body = STEPS["weights" if name == "model.safetensors" else "config"]
    faults = {
        "wrong content": [(with_body(other), *body)],
        "wrong ETag and content": [(with_etag("0" * 40), name, "HEAD"), (with_body(other), *body)],
        "another file": [(with_content(other), name, "HEAD GET")],
        "too short": [(with_content(files[name][:-100]), name, "HEAD GET")],
    }[how]
    for fault in faults:
        hub.order(*fault, times=None)
    refused(hub, name)
    hub.orders.clear()
    nothing_is_cached()
    assert same(from_pretrained(REPO), models[0][0])
    hub.stop()
    assert same(from_pretrained(REPO, revision=sha), models[0][0])
    # Once is no reason to give up: it is fetched again.
    hub.start()
    sha = hub.commit(REPO, {"README.md": b"New commit"})
    for fault in faults:
        hub.order(*fault, times=2 if fault[-1] == "HEAD GET" else 1)
    assert same(from_pretrained(REPO, force_download=True), models[0][0])
    assert hub.orders == []
    assert same(from_pretrained(REPO, revision=sha, local_files_only=True), models[0][0])


def test_a_download_that_goes_on_after_a_wrong_beginning(hub: LoopbackHub, tmp_path: Path) -> None:
    """The client goes on where a connection was cut, from 10 MB on, and only counts the bytes."""
    files = files_of(small(dims=(96, 480)), tmp_path)
    weights = files["model.safetensors"]
    assert len(weights) > 12 << 20
    hub.create(REPO, dict(files))
    wrong = with_body(weights[::-1])
    hub.order(lambda answer: cut(11 << 20)(lambda: wrong(answer)), *STEPS["weights"])
    assert same(from_pretrained(REPO), tmp_path)
    assert any("range" in request.headers for request in hub.asked("/cdn/"))
    assert same(from_pretrained(REPO, local_files_only=True), tmp_path)


@pytest.mark.parametrize("step", ["listing", "config, where", "weights, where"])
def test_a_push_in_between_is_not_mixed_in(hub: LoopbackHub, models: Models, step: str) -> None:
    """All files come from one commit, whatever happens meanwhile."""
    hub.create(REPO, dict(models[0][1]))

    def push() -> None:
        hub.commit(REPO, dict(models[1][1]))

    hub.order(after(push), *STEPS[step])
    assert same(from_pretrained(REPO), models[1 if step == "listing" else 0][0])
    assert same(from_pretrained(REPO), models[1][0])


def test_a_cache_of_two_commits(hub: LoopbackHub, models: Models, caplog: pytest.LogCaptureFixture) -> None:
    first = hub.create(REPO, dict(models[0][1]))
    assert same(from_pretrained(REPO), models[0][0])
    second = hub.commit(REPO, dict(models[1][1]))
    hub.order(refuse(503, "Oops"), *STEPS["listing"], times=None)
    caplog.clear()
    assert same(from_pretrained(REPO), models[0][0])
    assert f"using commit {first} from the cache" in caplog.text  # who wants the newest must learn of it
    hub.orders.clear()
    hub.order(refuse(401, "Invalid credentials in Authorization header"), *STEPS["listing"])
    refused(hub, "log in")
    assert same(from_pretrained(REPO), models[1][0])
    hub.stop()
    assert same(from_pretrained(REPO), models[1][0])
    for commit, (folder, _) in ((first, models[0]), (second, models[1])):
        assert same(from_pretrained(REPO, revision=commit), folder)


def test_a_server_that_dies_during_a_load(hub: LoopbackHub, models: Models) -> None:
    """Never the configuration of one commit with the weights of another."""
    hub.create(REPO, dict(models[0][1]))
    from_pretrained(REPO)
    second = hub.commit(REPO, dict(models[1][1]))
    hub.order(after(hub.stop), *STEPS["weights"])
    refused(hub, "cannot be reached|failed")
    with pytest.raises((OSError, ValueError)):
        from_pretrained(REPO, revision=second)
    hub.start()
    assert same(from_pretrained(REPO), models[1][0])
