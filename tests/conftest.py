"""Fixtures that every test file may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The folder of real meshes and clouds that is never part of the repository; skips, visibly, without it."""
    folder = os.environ.get("POINTMAE_ZOO_TESTDATA")
    if not folder:
        pytest.skip("POINTMAE_ZOO_TESTDATA is not set: the tests on real data need it")
    return Path(folder)
