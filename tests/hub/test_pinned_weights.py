"""Published weights: what the registry pins, nobody can exchange."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from pointmae_zoo import from_pretrained
from pointmae_zoo.hub import CheckpointError, pretrained
from pointmae_zoo.models import registry
from pointmae_zoo.models.registry import Weights, register_weights
from samples.hub import LoopbackHub
from samples.models import equal, files_of, small

REPO = "org/model"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """Of a repository with a small encoder."""
    return files_of(small(), tmp_path / "made")


@pytest.fixture
def pinned(files: dict[str, bytes]) -> Iterator[Any]:
    """Enters published weights that lie in REPO; removes them again."""
    names = []

    def pin(commit: str, **other: Any) -> str:
        weights, config = files["model.safetensors"], files["config.json"]
        entry: dict[str, Any] = {
            "architecture": "i2p_mae_tiny",
            "tag": "pinned",
            "sha256": hashlib.sha256(weights).hexdigest(),
            "size": len(weights),
            "config_sha256": hashlib.sha256(config).hexdigest(),
            "status": "demo",
            "licence": "CC0-1.0",
            "summary": "for this test",
            "repo": REPO,
            "commit": commit,
        }
        names.append(register_weights(Weights(**{**entry, **other})).name)
        return names[-1]

    yield pin
    for name in names:
        del registry._WEIGHTS[name]


def refused(words: str, source: str, **options: Any) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        from_pretrained(source, **options)
    assert "\n" not in str(caught.value)


def test_published_weights_are_loaded_at_their_commit(
    hub: LoopbackHub, files: Any, pinned: Any, tmp_path: Path
) -> None:
    name = pinned(hub.create(REPO, files))
    commit = registry.get_weights(name).commit
    hub.commit(REPO, files_of(small(1), tmp_path / "later"))
    model = from_pretrained(name)
    assert equal(model, small()) and model.config.provenance["hub"] == {"repo": REPO, "commit": commit}
    asked = [request.path for request in hub.requests if request.host == "127.0.0.1"]
    assert asked and all(commit in path for path in asked)
    hub.stop()
    assert equal(from_pretrained(name), small()), "a pinned commit in the cache needs nobody"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_pinned_file_that_is_exchanged(
    name: str, hub: LoopbackHub, files: Any, pinned: Any, tmp_path: Path
) -> None:
    """By somebody who may do anything on the Hub: both files are sound and belong together."""
    other = files_of(small(1 if name == "model.safetensors" else 0, pool="max"), tmp_path / "other")
    assert len(other["model.safetensors"]) == len(files["model.safetensors"])
    published = pinned(hub.create(REPO, other))
    words = "another file|is not what was published"
    refused(words, source=published)
    if name == "model.safetensors":
        assert not hub.asked("/cdn/"), "refused by the listing"
    assert equal(from_pretrained(REPO), from_pretrained(tmp_path / "other"))
    refused(words, source=published)


def test_bundled_weights_that_are_exchanged(
    pinned: Any, files: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """Arguments, too: another pooling fits the same weights and gives other features."""
    name = pinned("0" * 40)
    monkeypatch.setattr(pretrained, "BUNDLED", tmp_path)
    (tmp_path / "made").rename(tmp_path / name)
    assert equal(from_pretrained(name), small())
    for other in (small(1), small(0, pool="max")):
        files_of(other, tmp_path / name)
        refused("damaged or exchanged .its sha256 is not the one that was published", name)
    files_of(small(1), tmp_path / name)
    (tmp_path / name / "config.json").write_bytes(files["config.json"])
    refused("model.safetensors: damaged or exchanged .its sha256 is not the one that was published", name)
    (tmp_path / name / "model.safetensors").write_bytes(files["model.safetensors"] + b"more")
    refused("damaged or exchanged: .* bytes, not the .* that were published", name)


def test_a_pinned_file_in_the_cache_that_is_exchanged(
    hub: LoopbackHub, files: Any, pinned: Any, tmp_path: Path
) -> None:
    name = pinned(hub.create(REPO, files))
    from_pretrained(name)
    other = files_of(small(0, pool="max"), tmp_path / "other")["config.json"]
    (path,) = Path(constants.HF_HUB_CACHE).glob("models--*/snapshots/*/config.json")
    path.resolve().write_bytes(other)
    refused("damaged or exchanged", source=name, local_files_only=True)
    assert from_pretrained(name).hyper.pool == small().hyper.pool
    longer = pinned(registry.get_weights(name).commit, tag="longer", size=len(files["model.safetensors"]) + 1)
    refused("not the .* that were published; not downloaded", source=longer, cache_dir=tmp_path)


def test_bundled_weights_need_neither_network_nor_client(hub: LoopbackHub) -> None:
    code = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('huggingface_hub', 'requests', 'httpx', 'httpx2', 'urllib3'):\n"
        "            raise ImportError('blocked: ' + name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "import socket\n"
        "def no(*_): raise OSError('no network')\n"
        "socket.socket.connect = socket.getaddrinfo = no\n"
        "from pointmae_zoo import from_pretrained, list_weights\n"
        "for name in [*list_weights(), 'i2p_mae_tiny']:\n"
        "    from_pretrained(name, token='hf_x', cache_dir='/nowhere', force_download=True)\n"
        "try:\n"
        "    from_pretrained('org/repo')\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert child.stdout.strip() == "blocked: huggingface_hub", child.stderr
    assert not hub.requests
