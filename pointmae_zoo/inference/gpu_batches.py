"""Batches on a GPU: copied from pinned memory on a CUDA stream of their own while the network computes
earlier ones. Nothing waits for a batch until its outputs are needed.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pointmae_zoo.models.preprocess import Preprocess, rotated

Network = Callable[[Tensor], Tensor]


class Overlapped:
    """A Launcher for a GPU (`inference.batches`). On a CPU it computes the same, and nothing overlaps."""

    ahead = 2
    tries_sizes = True

    def __init__(self, recipe: Preprocess, device: str, up: str) -> None:
        self._recipe, self._device, self._up = recipe, torch.device(device), up
        self._on_gpu = self._device.type == "cuda"
        self._copies = torch.cuda.Stream(self._device) if self._on_gpu else None

    def launch(
        self,
        network: Network,
        clouds: list[NDArray[np.float32]],
        size: int,
        rotations: NDArray[np.float32] | None = None,
    ) -> "Underway":
        """See `Launcher.launch`. Returns while the GPU may still be computing earlier batches."""
        host, failed = self._assembled(clouds, size)
        with self._current_device():
            *prepared, turns = self._copied((*host, self._turns(rotations, size)))
            begun = self._event()
            with torch.no_grad():
                points = self._recipe.finished(*prepared)
                if rotations is not None:
                    points = rotated(points, turns)
                values = network(points)[: len(clouds)].float()
                outputs = self._empty(*values.shape).copy_(values, non_blocking=True)
            return Underway(outputs, failed, begun, self._event())

    def seconds(self, network: Network, clouds: list[NDArray[np.float32]], size: int) -> float:
        """See `Launcher.seconds`. Measured with the GPU's clock, in a second run, when kernels are chosen."""
        many = [clouds[number % len(clouds)] for number in range(size)]
        for _ in range(2):
            launched = self.launch(network, many, size)
            launched.outputs()
        return launched.seconds()

    def _assembled(
        self, clouds: list[NDArray[np.float32]], size: int
    ) -> tuple[tuple[Tensor, Tensor, Tensor], dict[int, str]]:
        """The arguments of `Preprocess.finished`, in pinned memory, which torch keeps until it was copied."""
        failed: dict[int, str] = {}
        small: list[tuple[NDArray[np.float32], int]] = []
        for number, cloud in enumerate(clouds):
            try:
                (turned,), (exponent,) = self._recipe.turned([cloud], up=self._up)
            except ValueError as error:
                failed[number] = str(error)
                turned, exponent = np.eye(2, 3, dtype=np.float32) * np.float32(0.5), 0
            small.append((turned, exponent))
        longest = max(len(cloud) for cloud, _ in small)
        host = (
            self._empty(size, longest, 3),
            self._empty(size, dtype=torch.int64),
            self._empty(size, dtype=torch.float64),
        )
        points, lengths, scales = (tensor.numpy() for tensor in host)
        for row in range(size):
            cloud, exponent = small[min(row, len(small) - 1)]  # the last one fills the batch up
            points[row, : len(cloud)], points[row, len(cloud) :] = cloud, cloud[0]
            lengths[row], scales[row] = len(cloud), np.ldexp(1.0, exponent)
        return host, failed

    def _empty(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, pin_memory=self._on_gpu)

    def _turns(self, rotations: NDArray[np.float32] | None, size: int) -> Tensor:
        """(size, 3, 3) for `rotated`, in pinned memory; empty without rotations."""
        if rotations is None:
            return self._empty(0)
        turns = self._empty(size, 3, 3)
        turns[:] = torch.from_numpy(rotations[-1])  # what fills the batch up, too
        turns[: len(rotations)] = torch.from_numpy(rotations)
        return turns

    def _copied(self, host: tuple[Tensor, ...]) -> list[Tensor]:
        """On the device, ready for what is launched next."""
        if self._copies is None:
            return [tensor.to(self._device) for tensor in host]
        working = torch.cuda.current_stream()
        with torch.cuda.stream(self._copies):
            copies = [tensor.to(self._device, non_blocking=True) for tensor in host]
        working.wait_stream(self._copies)
        for tensor in copies:
            tensor.record_stream(working)  # their memory is not given away before the network has read it
        return copies

    def _current_device(self) -> Any:
        """Kernels of Triton run on the current device, wherever their tensors are."""
        return torch.cuda.device(self._device) if self._on_gpu else contextlib.nullcontext()

    def _event(self) -> torch.cuda.Event | None:
        if not self._on_gpu:
            return None
        event = torch.cuda.Event(enable_timing=True, blocking=True)
        event.record()
        return event


@dataclass(frozen=True)
class Underway:
    """A batch whose outputs a GPU is writing to pinned memory."""

    _outputs: Tensor
    failed: dict[int, str]
    _begun: torch.cuda.Event | None
    _done: torch.cuda.Event | None

    def outputs(self) -> NDArray[np.float32]:
        """(number of clouds, ...); waits for this batch, not for later ones."""
        if self._done is not None:
            self._done.synchronize()
        return self._outputs.numpy().copy()

    def seconds(self) -> float:
        """From the beginning of sampling to the end of the copy. Only on a GPU, once it is done."""
        if self._begun is None or self._done is None:
            raise RuntimeError("a batch is timed by a GPU's events; there is none")
        return self._begun.elapsed_time(self._done) / 1000
