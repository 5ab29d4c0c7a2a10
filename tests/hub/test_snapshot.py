"""Models from the Hub: the real client against a Hub on this machine."""

import errno
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants

from pointmae_zoo import from_pretrained, save_pretrained
from pointmae_zoo.hub import CheckpointError, HubError, client
from pointmae_zoo.hub.snapshot import HubSource
from samples.hub import LoopbackHub, hang_up, refuse, with_body
from samples.models import POINTS, equal, files_of, small

REPO = "org/model"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """Of a repository with a small encoder."""
    return files_of(small(), tmp_path / "made")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Our own pauses (the client's stay) take no time; gives how long each would have been."""
    pauses: list[float] = []
    monkeypatch.setattr(client, "sleep", pauses.append)
    return pauses


def blobs() -> list[Path]:
    return [path for path in Path(constants.HF_HUB_CACHE).glob("models--*/blobs/*") if path.is_file()]


def refused(words: str, error: type[Exception] = HubError, source: str = REPO, **options: Any) -> str:
    with pytest.raises(error, match=words) as caught:
        from_pretrained(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What arrives.


def test_by_name_by_branch_and_by_commit(hub: LoopbackHub, files: Any, tmp_path: Path) -> None:
    first = hub.create(REPO, files)
    loaded = from_pretrained(REPO)
    assert equal(loaded, small()) and torch.equal(loaded.embed(POINTS), small().embed(POINTS))
    assert not loaded.training
    assert loaded.config.provenance["hub"] == {"repo": REPO, "commit": first}
    second = hub.commit(REPO, files_of(small(1), tmp_path / "second"))
    hub.repository(REPO).set_ref("refs/tags/v1", first)
    hub.repository(REPO).set_ref("refs/heads/try/it", first)
    for revision, seed, commit in (
        *((None, 1, second), ("main", 1, second), (second, 1, second), (first, 0, first)),
        *(("v1", 0, first), ("try/it", 0, first)),
    ):
        source = REPO if revision is None else f"{REPO}@{revision}"
        for model in (from_pretrained(source), from_pretrained(REPO, revision=revision)):
            assert equal(model, small(seed)), revision
            assert model.config.provenance["hub"]["commit"] == commit


def test_a_short_commit_is_refused_with_the_whole_one(hub: LoopbackHub, files: Any) -> None:
    """The Hub takes a short one, but what it means may change. A tag may well be short and begin as a
    commit."""
    commit = hub.create(REPO, files)
    for short in (commit[:7], commit[:39]):
        said = refused("a commit is named by its 40 digits", source=f"{REPO}@{short}")
        assert f"{REPO}@{commit}" in said
    assert not blobs()
    refused("a commit .all its 40 digits. expected", source=f"{REPO}@{'0' * 7}")
    hub.repository(REPO).set_ref(f"refs/tags/{commit[0]}", commit)
    assert equal(from_pretrained(f"{REPO}@{commit[0]}"), small())


def test_nothing_but_two_files_is_downloaded(hub: LoopbackHub, files: Any) -> None:
    hub.create(REPO, files)
    from_pretrained(REPO)
    asked = {request.path.rsplit("/", 1)[-1] for request in hub.requests if "/api/" not in request.path}
    assert asked == {"config.json", "model.safetensors"}
    assert len(blobs()) == 2


def test_all_arguments_reach_every_file(hub: LoopbackHub, files: Any, tmp_path: Path) -> None:
    hub.create(REPO, files, private=True)
    cache = tmp_path / "cache"
    from_pretrained(REPO, token=hub.read_token, cache_dir=cache)
    asked = [request for request in hub.requests if request.host == "127.0.0.1"]
    assert len(asked) >= 4 and {request.token for request in asked} == {hub.read_token}
    assert list(cache.glob("models--org--model/snapshots/*/model.safetensors"))
    assert not Path(constants.HF_HUB_CACHE).exists()
    count = len(hub.requests)
    for option in ({"cache_dir": cache}, {"cache_dir": str(cache)}):
        assert equal(from_pretrained(REPO, local_files_only=True, **option), small())
    assert len(hub.requests) == count, "local_files_only asks nobody"
    from_pretrained(REPO, token=hub.read_token, cache_dir=cache, force_download=True)
    assert [request.path for request in hub.requests[count:] if request.method == "GET"][1:] != []
    again = {request.path.rsplit("/", 1)[-1] for request in hub.requests[count:] if request.method == "GET"}
    assert {"config.json", "model.safetensors"} <= again
    refused("not, or not completely, in the cache", local_files_only=True)
    refused("excludes local_files_only", ValueError, local_files_only=True, force_download=True)


def test_kind_and_dtype_reach_a_model_of_the_hub(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.create(REPO, files_of(small(kind="classification", num_classes=3), tmp_path / "made"))
    encoder = from_pretrained(REPO, kind="encoder", dtype=torch.float64)
    assert encoder.config.kind == "encoder" and next(encoder.parameters()).dtype == torch.float64
    assert encoder.config.provenance["hub"]["repo"] == REPO
    assert from_pretrained(REPO, num_classes=5)(POINTS).shape == (2, 5)


def test_a_pulled_model_is_saved_with_its_origin(hub: LoopbackHub, files: Any, tmp_path: Path) -> None:
    commit = hub.create(REPO, files)
    save_pretrained(from_pretrained(REPO), tmp_path / "mine")
    again = from_pretrained(tmp_path / "mine")
    assert again.config.provenance["hub"] == {"repo": REPO, "commit": commit} and equal(again, small())


def test_a_snapshot_of_the_cache_is_a_folder_like_any(hub: LoopbackHub, files: Any) -> None:
    hub.create(REPO, files)
    from_pretrained(REPO)
    (snapshot,) = Path(constants.HF_HUB_CACHE).glob("models--*/snapshots/*")
    assert (snapshot / "model.safetensors").is_symlink()
    assert equal(from_pretrained(snapshot), small())


# Without a connection.


def test_a_second_load_with_the_server_stopped(hub: LoopbackHub, files: Any, caplog: Any) -> None:
    commit = hub.create(REPO, files)
    features = from_pretrained(REPO).embed(POINTS)
    hub.repository(REPO).set_ref("refs/heads/other", commit)
    hub.stop()
    caplog.set_level(logging.WARNING, "pointmae_zoo")
    again = from_pretrained(REPO)
    assert torch.equal(again.embed(POINTS), features) and again.config.provenance["hub"]["commit"] == commit
    assert "cannot be reached" in caplog.text and f"using commit {commit} from the cache" in caplog.text
    caplog.clear()
    assert equal(from_pretrained(f"{REPO}@{commit}"), small())
    assert equal(from_pretrained(REPO, local_files_only=True), small())
    assert not caplog.messages, "a commit never changes: nobody need be asked"
    said = refused("cannot be reached", source=f"{REPO}@other")
    assert hub.url in said and "Connection refused" in said
    refused("cannot be reached", force_download=True)


def test_nothing_in_the_cache_and_nobody_there(hub: LoopbackHub) -> None:
    hub.stop()
    said = refused("cannot be reached", source="runs/seed0")
    assert said.startswith("runs/seed0: no such folder; on the Hub: ")


def test_a_mistyped_folder_is_not_looked_for_on_the_hub(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "head").mkdir(parents=True)
    hub.stop()
    said = refused("did you mean", ValueError, source="runs/haed")
    assert said == "runs/haed: no such folder; did you mean runs/head? (runs/haed@main asks the Hub)"
    said = refused("did you mean", CheckpointError, source="./runs/haed")
    assert said == "runs/haed: no such folder; did you mean runs/head?"
    refused("cannot be reached", source="runs/haed@main")
    refused("cannot be reached", source="runs/something")


def test_half_a_load_is_not_taken_for_one(hub: LoopbackHub, files: Any) -> None:
    hub.create(REPO, files)
    hub.order(refuse(403), "/cdn/", times=None)
    refused("HTTP 403")
    hub.stop()
    refused("cannot be reached")
    refused("not completely, in the cache", local_files_only=True)


def test_offline_mode(hub: LoopbackHub, files: Any) -> None:
    hub.create(REPO, files)
    code = f"import sys; from pointmae_zoo import from_pretrained; from_pretrained({REPO!r})"
    for there in (False, True):
        if there:
            from_pretrained(REPO)
        count = len(hub.requests)
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert (child.returncode == 0) is there, child.stderr
        assert "HF_HUB_OFFLINE is set" in child.stderr
        assert len(hub.requests) == count


def test_an_update_that_fails_leaves_the_older_copy(hub: LoopbackHub, files: Any, tmp_path: Path) -> None:
    """As found without the Hub, by the branch's name."""
    first = hub.create(REPO, files)
    from_pretrained(REPO)
    second = hub.commit(REPO, files_of(small(1), tmp_path / "second"))
    wrong = with_body(bytes(len(files["model.safetensors"])))
    for fault, error, words in (
        (refuse(403), HubError, "HTTP 403"),
        (wrong, CheckpointError, "model.safetensors is not what was listed"),
    ):
        hub.order(fault, "/cdn/", times=None)
        refused(words, error)
        hub.stop()
        for options in ({}, {"local_files_only": True}):
            model = from_pretrained(REPO, **options)
            assert equal(model, small()) and model.config.provenance["hub"]["commit"] == first
        hub.orders.clear()
        hub.start()
    assert equal(from_pretrained(REPO), small(1))
    hub.stop()
    assert from_pretrained(REPO).config.provenance["hub"]["commit"] == second


def test_a_commit_that_cannot_be_noted(hub: LoopbackHub, files: Any, caplog: Any) -> None:
    """It is loaded all the same."""
    commit = hub.create(REPO, files)
    hub.order(refuse(403), f"/{REPO}/resolve/main/", "HEAD")
    assert equal(from_pretrained(REPO), small())
    assert "HTTP 403" in caplog.text and f"commit {commit} is loaded, but not noted" in caplog.text
    assert equal(from_pretrained(f"{REPO}@{commit}", local_files_only=True), small())
    assert equal(from_pretrained(REPO), small())
    hub.stop()
    assert equal(from_pretrained(REPO), small()), "noted by the second load"


# Faults: words, no partial file, another attempt where it makes sense.


def test_the_server_says_how_long_to_wait(hub: LoopbackHub, files: Any, no_waiting: list[float]) -> None:
    hub.create(REPO, files)
    hub.order(refuse(429, Retry_After="7"), "/api/models/", times=2)
    hub.order(refuse(429, RateLimit='"api";r=0;t=31'), "/api/models/")
    assert equal(from_pretrained(REPO), small())
    assert no_waiting == [7.0, 7.0, 31.0]


def test_a_failing_hub_is_not_asked_for_ever(hub: LoopbackHub, files: Any, no_waiting: list[float]) -> None:
    hub.create(REPO, files)
    hub.order(refuse(503), "/api/models/", times=None)
    refused("the Hub is failing .HTTP 503.; try again later")
    assert len(hub.requests) == client.ATTEMPTS and no_waiting == [1.0, 2.0, 4.0]
    hub.orders.clear()
    hub.order(refuse(429, Retry_After="86400"), "/api/models/", times=None)
    refused("too many requests .HTTP 429.; try again in 86400 s, or log in")
    assert len(hub.requests) == client.ATTEMPTS + 1, "a day is not waited for"


def test_a_failing_hub_and_a_copy_in_the_cache(hub: LoopbackHub, files: Any, caplog: Any) -> None:
    hub.create(REPO, files)
    from_pretrained(REPO)
    hub.order(refuse(500), "/api/models/", times=None)
    hub.requests.clear()
    assert equal(from_pretrained(REPO), small()) and "from the cache" in caplog.text
    assert len(hub.requests) == 1, "nobody waits for what is there"


def test_what_the_caller_is_handling_says_nothing_of_this_load(
    hub: LoopbackHub, files: Any, no_waiting: list[float]
) -> None:
    """Python links an error to the one that is being handled when it is raised, a caller's, too."""
    hub.create(REPO, files)

    def handling(load: Any) -> Any:
        try:
            try:
                from_pretrained("org/missing")
            except HubError:
                Path("/nowhere").read_bytes()  # an error of this machine, and one with HTTP 404 behind it
        except OSError:
            return load()

    hub.order(refuse(503), "/api/models/org/model")
    hub.order(hang_up, "config.json", "HEAD")
    assert equal(handling(lambda: from_pretrained(REPO)), small())
    assert no_waiting == [1.0, 1.0]
    hub.order(hang_up, "/api/models/", times=None)
    handling(lambda: refused("the connection to .* failed .*; try again later", force_download=True))
    hub.stop()
    handling(lambda: refused("cannot be reached .Connection refused.", force_download=True))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_broken_file_in_the_cache_is_replaced(name: str, hub: LoopbackHub, files: Any) -> None:
    commit = hub.create(REPO, files)
    for source in (REPO, f"{REPO}@{commit}"):
        from_pretrained(source)
        (path,) = Path(constants.HF_HUB_CACHE).glob(f"models--*/snapshots/*/{name}")
        good = path.read_bytes()
        path.resolve().write_bytes(good[:-20] + bytes(20))
        refused("damaged|not readable as JSON", CheckpointError, source=source, local_files_only=True)
        assert equal(from_pretrained(source), small())
        assert path.read_bytes() == good
        path.resolve().write_bytes(good[:-20] + bytes(20))
        hub.stop()
        refused("damaged|not readable as JSON", CheckpointError, source=source)
        hub.start()
        assert equal(from_pretrained(source), small())


def test_a_full_disk(hub: LoopbackHub, files: Any) -> None:
    """What the client writes while it downloads goes to a device that is always full."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    hub.create(REPO, files)
    code = (
        "from pathlib import Path\n"
        "from pointmae_zoo import from_pretrained\n"
        "kept = Path.open\n"
        "def full(path, mode='r', *rest, **more):\n"
        "    name = '/dev/full' if path.name.endswith('.incomplete') else path\n"
        "    return kept(Path(name), mode, *rest, **more)\n"
        "Path.open = full\n"
        f"from_pretrained({REPO!r})\n"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    said = child.stderr.strip().splitlines()[-1]
    assert f"{REPO}: no such folder; on the Hub: the disk of {constants.HF_HUB_CACHE} is full; make" in said
    assert equal(from_pretrained(REPO), small())


def test_a_cache_that_cannot_be_written(hub: LoopbackHub, files: Any, tmp_path: Path) -> None:
    hub.create(REPO, files)
    (tmp_path / "file").write_text("not a folder")
    said = refused("cannot be kept in .*; name another cache_dir", cache_dir=tmp_path / "file" / "cache")
    assert str(tmp_path / "file" / "cache") in said


def test_words_for_the_way_out_are_not_of_the_cache() -> None:
    from huggingface_hub.errors import OfflineModeIsEnabled

    unreadable = PermissionError(errno.EACCES, "Permission denied", "run/model.safetensors")
    for error, words in (
        (OSError(errno.ENOSPC, "No space left"), "a disk of this machine is full; make room"),
        (OfflineModeIsEnabled("x"), "HF_HUB_OFFLINE is set, so the Hub is not asked; unset it to send"),
        (unreadable, "run/model.safetensors cannot be used .Permission denied.; check it"),
    ):
        said = str(client.explained(error, REPO, right="write"))
        assert re.match(f"{REPO}: {words}", said) and "cache" not in said


def test_a_token_s_file_that_cannot_be_read(hub: LoopbackHub, files: Any, tmp_path: Path) -> None:
    """Is no matter of the cache, too, nor of the connection."""
    hub.create(REPO, files)
    environment = {**os.environ, "HF_TOKEN_PATH": str(tmp_path)}
    code = f"from pointmae_zoo import from_pretrained; from_pretrained('{REPO}@main')"
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    said = child.stderr.strip().splitlines()[-1]
    assert said.endswith(
        f"{REPO}@main: {tmp_path} cannot be used (Is a directory); check it, and who may read and write it"
    )


# Who may read, and what there is.


def test_gated_private_missing(hub: LoopbackHub, files: Any) -> None:
    hub.create("org/gated", files, gated=True)
    hub.create("org/private", files, private=True)
    hub.create(REPO, files)
    for token in (None, hub.stranger_token):
        said = refused("gated: ask for access at", source="org/gated", token=token)
        assert f"{hub.url}/org/gated" in said and "hf auth login" in said and "HF_TOKEN" in said
        for source in ("org/private", "org/missing"):
            said = refused("no such repository at .*, or a private one", source=source, token=token)
            assert said.startswith(f"{source}: no such folder; on the Hub: ") and "hf auth login" in said
        said = refused("no such repository", source="org/missing@v1", token=token)
        assert "no such folder" not in said, "what has a revision is meant to be on the Hub"
    assert not blobs(), "nothing is kept of what may not be read"
    said = refused("no revision 'v9'; a branch, a tag or a commit", source=f"{REPO}@v9")
    refused("no revision", source=f"{REPO}@{'f' * 40}")
    refused("does not know this token; log in", token="hf_wrong")
    refused("token=True, but there is none; log in", token=True)
    hub.order(refuse(403), "/api/models/")
    refused("HTTP 403.: this login may not read it")
    assert equal(from_pretrained("org/private", token=hub.read_token), small())
    for options in ({}, {"force_download": True}):  # who may read it no more gets words, not the copy
        refused("no such repository", source="org/private", **options)
    hub.repository("org/gated").settings = {"private": False, "gated": True, "granted": ["bob"]}
    assert equal(from_pretrained("org/gated", token=hub.stranger_token), small())


def test_what_is_printed_of_a_source_holds_no_token() -> None:
    """In a debugger, or in a traceback with local variables."""
    source = HubSource(REPO, "main", "hf_ThisIsMySecretToken")
    assert source.token == "hf_ThisIsMySecretToken"
    assert REPO in repr(source) and "Secret" not in f"{source!r} {source}"


def test_no_message_holds_a_token(hub: LoopbackHub, files: Any, caplog: Any) -> None:
    """Nor the errors that led to ours, nor the log, whatever goes wrong."""
    secret = "hf_ThisIsMySecretToken"
    hub.users[secret] = hub.users[hub.read_token]
    hub.create(REPO, files, private=True)
    caplog.set_level(logging.DEBUG)
    faults = [
        *((refuse(status), "/api/models/") for status in (400, 401, 403, 404, 429, 500)),
        *((refuse(status), "config.json") for status in (401, 403, 404)),
        (refuse(500), "/cdn/"),
        (hang_up, "/api/models/"),
        (with_body(b"x"), "/cdn/"),
    ]
    told = []
    for fault, path in faults:
        hub.orders.clear()
        hub.order(fault, path, "HEAD GET", times=None)
        with pytest.raises((HubError, CheckpointError)) as caught:
            from_pretrained(REPO, token=secret)
        told.append("".join(traceback.format_exception(caught.value)))
    hub.orders.clear()
    for token in (f"{secret}\n", f"{secret} ", f"\t{secret}", f"{secret}é", ""):
        with pytest.raises(ValueError, match="token: characters that no token has") as wrong:
            from_pretrained(REPO, token=token)
        told.append("".join(traceback.format_exception(wrong.value)))
    model = from_pretrained(REPO, token=secret)
    told += [caplog.text, json.dumps(model.config.provenance)]
    assert not any("SecretToken" in text for text in told)


@pytest.mark.parametrize(
    "source", ["org/a/b", "a//b", "org/..", "org/a..b", "org/a--b", "-org/a", "org/a\\b", "a b/c"]
)
def test_what_is_no_name_is_not_asked_for(source: str, hub: LoopbackHub) -> None:
    refused("no name of a repository on the Hub .*, and there is no such folder", ValueError, source=source)
    assert not hub.requests


@pytest.mark.parametrize(
    "revision", ["", "..", "a..b", "../main", "/main", "a//b", "a\\b", "a b", "main/", "é", "-x"]
)
def test_what_is_no_revision_is_not_asked_for(revision: str, hub: LoopbackHub) -> None:
    for given in ({"source": f"{REPO}@{revision}"}, {"revision": revision}):
        refused("revision: a branch, a tag or a commit expected", ValueError, **given)
    assert not hub.requests


def test_a_revision_is_for_the_hub_and_given_once(hub: LoopbackHub, tmp_path: Path) -> None:
    save_pretrained(small(), tmp_path)
    refused("given twice", ValueError, source=f"{REPO}@main", revision="main")
    refused("a folder has no revision", ValueError, source=str(tmp_path), revision="main")
    refused("published weights are of one commit", ValueError, source="i2p_mae_tiny.shapes", revision="main")


def test_a_folder_comes_before_the_hub(
    hub: LoopbackHub, files: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    hub.create(REPO, files)
    monkeypatch.chdir(tmp_path)
    save_pretrained(small(5), tmp_path / "org" / "model")
    assert equal(from_pretrained("org/model"), small(5)) and not hub.requests
    assert equal(from_pretrained(Path("org/model")), small(5))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert equal(from_pretrained("~/org/model"), small(5))
    shutil.rmtree(tmp_path / "org")
    with pytest.raises(CheckpointError, match="no such folder"):
        from_pretrained(Path("org/model"))
    for source in ("./org/model", "../org/model", "/org/model", "~/org/model"):
        refused("no such folder", CheckpointError, source=source)
    assert not hub.requests and equal(from_pretrained("org/model"), small())
