"""Repositories, and answers of the Hub, that somebody made to do harm: refused before they are downloaded."""

import json
import pickle
from pathlib import Path

import pytest
from huggingface_hub import constants
from safetensors.torch import save

from pointmae_zoo import from_pretrained, save_pretrained
from pointmae_zoo.hub import CheckpointError, HubError
from pointmae_zoo.hub.checkpoint.config_file import MAX_CONFIG
from samples.hub import LoopbackHub, with_body
from samples.models import equal, files_of, small

REPO = "org/model"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound model."""
    return save_pretrained(small(), tmp_path / "model")


def refused(words: str, source: str, error: type[Exception] = CheckpointError) -> str:
    with pytest.raises(error, match=words) as caught:
        from_pretrained(source)
    assert str(caught.value).isprintable(), "one line"
    return str(caught.value)


def downloaded(hub: LoopbackHub) -> list[str]:
    """Files whose content was asked for."""
    return [
        request.path for request in hub.requests if request.method == "GET" and "/api/" not in request.path
    ]


def test_a_repository_of_pickles(hub: LoopbackHub) -> None:
    hub.create(REPO, {"pytorch_model.bin": b"x", "config.json": b"{}", "README.md": b""})
    said = refused("pytorch_model.bin, a pickle, which can run code and is never loaded; .*convert", REPO)
    assert said.startswith(REPO) and not downloaded(hub)
    hub.create("org/empty", {"README.md": b""})
    refused("model.safetensors and config.json expected", "org/empty")


def test_a_repository_with_code(hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    code = f"open({str(tmp_path / 'ran')!r}, 'w')".encode()
    paths = ("modeling.py", "__init__.py", "hubconf.py", "config.py", "sub/dir/evil.py")
    hub.create(REPO, {**files, **dict.fromkeys(paths, code), "pytorch_model.bin": pickle.dumps(print)})
    assert equal(from_pretrained(REPO), small())
    assert not (tmp_path / "ran").exists()
    assert not [path for path in downloaded(hub) if path.endswith((".py", ".bin"))]


def test_what_the_listing_shows_is_not_downloaded(hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    sound = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.create("org/config", {**sound, "config.json": b"[" * (MAX_CONFIG + 1)})
    refused("config.json of 1,048,577 bytes, which no configuration has; not downloaded", "org/config")
    assert not downloaded(hub)
    for repo, weights, words in (
        (
            "org/large",
            sound["model.safetensors"] + bytes(10**6),
            "bytes, not the .* that its architecture needs",
        ),
        ("org/small", b"x" * 100, "of 100 bytes, not the .* that its architecture needs; not downloaded"),
        (
            "org/other",
            save(small(1).state_dict()),
            "another file .* not the one in its config.json.; not down",
        ),
    ):
        commit = hub.create(repo, {**sound, "model.safetensors": weights})
        hub.requests.clear()
        refused(words, repo)
        assert downloaded(hub) == [f"/{repo}/resolve/{commit}/config.json"]
    content = json.loads(sound["config.json"])
    content["arguments"]["depths"] = [10**9, 10**9]
    commit = hub.create("org/layers", {**sound, "config.json": json.dumps(content).encode()})
    hub.requests.clear()
    said = refused("depths: entries from 0 to 128 expected", "org/layers")
    assert said.startswith("org/layers: config.json: "), "no path in the cache"
    assert downloaded(hub) == [f"/org/layers/resolve/{commit}/config.json"]


def test_a_listing_made_to_harm(hub: LoopbackHub, folder: Path) -> None:
    """Names and commits that the server makes up become no path of this machine."""
    sha = hub.create(REPO, {path.name: path.read_bytes() for path in folder.iterdir()})
    for commit in ("../../../evil", "main", "", None):
        files = [{"rfilename": "config.json"}, {"rfilename": "model.safetensors"}]
        listing = {"id": REPO, "sha": commit, "siblings": files}
        hub.order(with_body(json.dumps(listing).encode()), "/api/models/")
        refused("the Hub names no commit for it", REPO, HubError)
    assert not downloaded(hub)
    names = ["../../evil", "/etc/passwd", "config.json/../../x", "config.json", "model.safetensors"]
    listing = {"id": REPO, "sha": sha, "siblings": [{"rfilename": name} for name in names]}
    hub.order(with_body(json.dumps(listing).encode()), "/api/models/")
    hub.requests.clear()
    assert equal(from_pretrained(REPO), small()), "only the two are asked for"
    assert all(
        path.endswith(names[-1]) or "/cdn/" in path or path.endswith(names[-2]) for path in downloaded(hub)
    )
    cache = Path(constants.HF_HUB_CACHE)
    assert not [path for path in cache.parent.parent.rglob("evil*")]


def test_an_answer_that_is_none(hub: LoopbackHub, folder: Path) -> None:
    hub.create(REPO, files_of(small(), folder))
    for body in (b"<html>Please log in to this network</html>", b"[]", b"{}", b""):
        hub.order(with_body(body), "/api/models/")
        hub.requests.clear()
        refused("does not answer as a Hub does; check HF_ENDPOINT", REPO, HubError)
        assert len(hub.requests) == 1
