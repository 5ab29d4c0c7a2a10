"""The table of published weights: what an entry must say, and that it says what is there."""

import pytest

from pointmae_zoo.hub.pretrained import BUNDLED
from pointmae_zoo.models.registry import Weights, get_weights, list_weights, register_weights
from pointmae_zoo.system.files import file_sha256

GOOD = {
    "architecture": "i2p_mae_tiny",
    "tag": "made_up",
    "sha256": "0" * 64,
    "size": 1,
    "config_sha256": "0" * 64,
    "status": "demo",
    "licence": "CC0-1.0",
    "summary": "",
}


@pytest.mark.parametrize("name", list_weights())
def test_entries_describe_the_files_that_are_there(name: str):
    entry = get_weights(name)
    file = BUNDLED / name / "model.safetensors"
    if entry.repo is None:
        assert file.is_file(), f"{name} is listed, but neither bundled nor on the Hub"
    if file.is_file():
        assert (file_sha256(file), file.stat().st_size) == (entry.sha256, entry.size)
        assert file_sha256(file.with_name("config.json")) == entry.config_sha256


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"status": "great"}, "status: one of reproduced, own-recipe, demo expected, got 'great'"),
        ({"sha256": "abc"}, "sha256: 64 hexadecimal digits"),
        ({"config_sha256": "abc"}, "config_sha256: 64 hexadecimal digits"),
        ({"size": 0}, "size: bytes expected"),
        ({"repo": "org/repo"}, "repo and commit: both expected"),
        ({"repo": "org/repo", "commit": "main"}, "commit: 40 hexadecimal digits expected, got 'main'"),
    ],
)
def test_entries_are_checked(wrong: dict[str, object], said: str):
    with pytest.raises(ValueError, match=f"i2p_mae_tiny.made_up: {said}"):
        Weights(**{**GOOD, **wrong})  # type: ignore[arg-type]


def test_weights_need_an_architecture_and_a_free_name():
    with pytest.raises(ValueError, match="no architecture is called 'i2p_mae_tinny'; did you mean"):
        register_weights(Weights(**{**GOOD, "architecture": "i2p_mae_tinny"}))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="registered already"):
        register_weights(get_weights(list_weights()[0]))
