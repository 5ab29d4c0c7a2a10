"""The way in from a Hub that fails: the right words, no half or wrong file, and patience where it helps."""

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

from pointmae_zoo import create_model, from_pretrained, save_pretrained
from pointmae_zoo.hub import client, download
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

REPO = "org/model"
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


def make(seed: int, folder: Path, dims: tuple[int, int] = (12, 24)) -> dict[str, bytes]:
    """The files of a small model."""
    torch.manual_seed(seed)
    small = {"num_tokens": (32, 8), "num_neighbors": (8, 4), "depths": (1, 1), "num_heads": 3}
    model = create_model("i2p_mae_tiny", "encoder", **small, dims=dims, stem_widths=(8, 16))
    save_pretrained(model, folder)
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Two models of the same architecture with different weights: their folders and files."""
    folders = [tmp_path_factory.mktemp("model") for _ in range(2)]
    return [(folder, make(seed, folder)) for seed, folder in enumerate(folders)]


@pytest.fixture(autouse=True)
def secrets_stay_secret(
    hub: LoopbackHub,
    models: Models,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[None]:
    """Short pauses; everything is logged, and no token appears in it or on the terminal."""
    monkeypatch.setattr(client, "PAUSE", 0.01)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    caplog.set_level(logging.DEBUG)
    verbosity = huggingface_hub.logging.get_verbosity()
    huggingface_hub.logging.set_verbosity_debug()
    huggingface_hub.logging.enable_propagation()
    yield
    huggingface_hub.logging.disable_propagation()
    huggingface_hub.logging.set_verbosity(verbosity)
    said = capfd.readouterr()
    for token in hub.users:
        assert token not in caplog.text + said.out + said.err


def same(model: Any, folder: Path) -> bool:
    expected, found = from_pretrained(folder).state_dict(), model.state_dict()
    return expected.keys() == found.keys() and all(torch.equal(expected[key], found[key]) for key in found)


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


def test_private_and_gated_repositories(
    hub: LoopbackHub, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.create(REPO, dict(models[0][1]), private=True)
    hub.create("org/gated", dict(models[0][1]), gated=True)
    monkeypatch.delenv("HF_TOKEN")
    refused(hub, "check the name.*log in")
    for token in (None, hub.stranger_token):
        with pytest.raises(OSError, match=r"org/gated.*ask for access at http\S+/org/gated"):
            from_pretrained("org/gated", token=token)
    with pytest.raises(OSError, match=r"org/none.*check the name"):
        from_pretrained("org/none", token=hub.token)
    refused(hub, "log in", lambda: from_pretrained(REPO, token="hf_" + "0" * 34))
    assert same(from_pretrained(REPO, token=hub.read_token), models[0][0])
    asked = [request for request in hub.asked(REPO) if request.token == hub.read_token]
    assert {request.path.rsplit("/", 1)[-1] for request in asked if request.method == "HEAD"} == set(FILES)
    # Who has no access (any more) gets words, even with a copy in the cache.
    refused(hub, "check the name.*log in", lambda: from_pretrained(REPO, force_download=True))


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
    for fault, words, attempts in (
        (refuse(500, "Oops"), "failing.*later", client.ATTEMPTS),
        (refuse(429, "Slow down", Retry_After="3600"), "try again in 3600 s", 1),
        (hang_up, "try again later", client.ATTEMPTS),
    ):
        hub.requests.clear()
        hub.order(fault, *STEPS["listing"], times=None)
        refused(hub, words)
        assert len(hub.requests) == attempts
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
    monkeypatch.setattr(download, "_TIMEOUT", 0.5)
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
    files = make(0, tmp_path, dims=(96, 480))
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


def test_without_the_server_the_cache_answers(
    hub: LoopbackHub, models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    first = hub.create(REPO, dict(models[0][1]))
    assert same(from_pretrained(REPO), models[0][0])
    hub.stop()
    for source in (REPO, f"{REPO}@main", f"{REPO}@{first}"):
        assert same(from_pretrained(source), models[0][0])
    assert same(from_pretrained(REPO, local_files_only=True), models[0][0])
    refused(hub, "cannot be reached", lambda: from_pretrained(REPO, revision="none"))
    refused(hub, "cannot be reached|force", lambda: from_pretrained(REPO, force_download=True))
    hub.start()
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
