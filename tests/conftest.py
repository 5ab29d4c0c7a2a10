"""Fixtures that every test file may use."""

import atexit
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from samples.hub import LoopbackHub

if TYPE_CHECKING:
    from samples.server import Server

# One thread, unless asked for otherwise: workers would fight over every core, and sums depend on how many
# threads there are. torch and numba read this when they are imported, which is later than here.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test reaches the real Hub: the client, in child processes, too, gets an address on this machine where
# nobody answers but for the time of the fixture `hub`. Its variables are read when it is imported, so they
# are set here, before; whatever the developer has set for it, a token among it, is forgotten.
for _name in list(os.environ):
    if _name.startswith(("HF_", "HUGGING", "TRANSFORMERS_")):
        del os.environ[_name]
_FOLDER = Path(tempfile.mkdtemp(prefix="pointmae-zoo-hub-"))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
_HUB = LoopbackHub(_FOLDER / "empty")
os.environ["HF_ENDPOINT"] = _HUB.url
os.environ["HF_HOME"] = str(_FOLDER / "home")
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_XET"] = "1"
for _name in ("no_proxy", "NO_PROXY"):
    os.environ[_name] = ",".join([*filter(None, [os.environ.get(_name)]), "127.0.0.1", "localhost"])


def pytest_configure() -> None:
    """One process reads files where a test does not say how many: others are at work beside it."""
    from pointmae_zoo.shapes import reader_pool

    def one_core() -> int:
        return 1

    one_core.__wrapped__ = reader_pool.available_cores
    reader_pool.available_cores = one_core


@pytest.fixture(autouse=True)
def torchs_random_numbers() -> None:
    """The same in every test, whatever came before it."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def quick_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of pre-training end with an empty picture: the real one takes three times as long as the run."""
    from pointmae_zoo.train import pretraining

    def draw(_model: object, _points: object, _views: object, path: Path) -> None:
        path.write_bytes(b"")

    monkeypatch.setattr(pretraining, "draw_reconstruction", draw)


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The folder of real meshes and clouds, never part of the repository; skips, visibly, without it."""
    folder = os.environ.get("POINTMAE_ZOO_TESTDATA")
    if not folder:
        pytest.skip("POINTMAE_ZOO_TESTDATA is not set: the tests on real data need it")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny() -> dict[str, list[int]]:
    """Arguments of an ``i2p_mae_tiny`` that is smaller still, and takes milliseconds."""
    return {
        "num_tokens": [16, 8],
        "num_neighbors": [8, 4],
        "dims": [24, 48],
        "depths": [1, 1],
        "stem_widths": [8, 16],
    }


@pytest.fixture(scope="session")
def parity() -> Path:
    """The folder of inputs and outputs of the reference implementation; never part of the repository, too."""
    folder = os.environ.get("POINTMAE_ZOO_PARITY")
    if folder:
        return Path(folder)
    data = os.environ.get("POINTMAE_ZOO_TESTDATA")
    if data and (Path(data).parent / "parity").is_dir():
        return Path(data).parent / "parity"
    pytest.skip("POINTMAE_ZOO_PARITY is not set: the tests against the reference's outputs need it")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator["Server"]:
    """A server on this machine that can be told to fail, reached without a proxy."""
    from samples.server import Server

    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackHub]:
    """An empty Hub on this machine for the real client, whose cache is empty, too."""
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)
    _HUB.reset(tmp_path_factory.mktemp("hub"))
    _HUB.start()
    yield _HUB
    _HUB.stop()


@pytest.fixture
def no_token_told(
    hub: LoopbackHub,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[None]:
    """Logged in, with short pauses; everything is logged, and no token appears in it or on the terminal."""
    import huggingface_hub

    from pointmae_zoo.hub import client

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
