"""Reading ahead: the same rows, sooner."""

import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from pointmae_zoo.train.read_ahead import ReadAhead

ROWS = np.random.default_rng(0).normal(size=(9, 2))


def test_expected_rows_are_read_before_they_are_asked_for() -> None:
    read = threading.Event()
    threads = []

    def rows(indices: NDArray[np.int64]) -> NDArray[np.float64]:
        threads.append(threading.current_thread())
        read.set()
        return ROWS[indices]

    ahead = ReadAhead(rows)
    ahead.expect(np.array([3, 1]))
    assert read.wait(60)  # nobody has asked yet
    for indices in ([3, 1], [5], [3, 1]):
        np.testing.assert_array_equal(ahead.read(np.array(indices)), ROWS[indices])
    here = threading.current_thread()
    assert threads[0] is not here and threads[1:] == [here, here]  # each expectation serves once
    ahead.expect(np.array([4]))
    ahead.close()
    assert not threads[0].is_alive()


def test_what_goes_wrong_meanwhile_is_raised_where_rows_are_asked_for() -> None:
    def broken(_: NDArray[np.int64]) -> NDArray[np.float64]:
        raise RuntimeError("a process ended early")

    ahead = ReadAhead(broken)
    ahead.expect(np.array([0]))
    with pytest.raises(RuntimeError, match="ended early"):
        ahead.read(np.array([0]))
    ahead.close()
