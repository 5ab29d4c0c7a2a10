"""The size of batches: as large as pays and fits."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pointmae_zoo.inference.batch_size import BatchSize, is_out_of_memory

OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB"


def device(fixed: float, each: float, most: int = 10**9) -> Callable[[int], float]:
    """Seconds of a batch on a made-up GPU: so many for any, so many for each cloud, memory for ``most``."""

    def seconds(size: int) -> float:
        tried.append(size)
        if size > most:
            raise torch.OutOfMemoryError(OUT_OF_MEMORY)
        return fixed + each * size

    tried: list[int] = []
    seconds.tried = tried  # type: ignore[attr-defined]
    return seconds


@pytest.mark.parametrize(
    ("seconds", "waiting", "wanted", "tried"),
    [
        # 16 -> 32 clouds in 1.16 -> 1.32 s and so on; from 512 to 1,024 it would still be 20 % faster.
        (device(1.0, 0.01), 10**6, 512, [16, 32, 64, 128, 256, 512]),
        # 0.26, 0.42, 0.74, 1.38, 2.66 s: the last doubling, to 256, brings 3.8 %.
        (device(0.1, 0.01), 10**6, 128, [16, 32, 64, 128, 256]),
        (device(0.0, 0.01), 10**6, 16, [16, 32]),
        (device(1.0, 0.01, most=100), 10**6, 64, [16, 32, 64, 128]),
        (device(1.0, 0.01, most=5), 10**6, 8, [16]),  # whether 8 fit, its first batch will tell
        (device(1.0, 0.01), 32 * 64, 64, [16, 32, 64]),
        (device(1.0, 0.01), 1000, 16, []),
    ],
)
def test_the_size_doubles_while_that_pays_and_fits(
    seconds: Any, waiting: int, wanted: int, tried: list[int]
) -> None:
    assert BatchSize(None).find(seconds, waiting) == wanted
    assert seconds.tried == tried


def test_a_given_size_is_not_looked_for_and_halved_only_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    size = BatchSize(25)
    assert size.find(device(1.0, 0.01), 10**6) == 25
    size.halve()
    assert size.size == 13
    assert capsys.readouterr().err == "out of memory: going on with 13 clouds at a time\n"


def test_one_cloud_without_room_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no room for a single cloud; end other programs"):
        BatchSize(1).halve()


def test_other_errors_than_memory_are_not_hidden() -> None:
    def broken(size: int) -> float:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        BatchSize(None).find(broken, 10**6)
    for said in (
        OUT_OF_MEMORY,
        "Triton Error [CUDA]: out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED when calling",
    ):
        assert is_out_of_memory(RuntimeError(said))
    assert not is_out_of_memory(ValueError("out of memory"))
