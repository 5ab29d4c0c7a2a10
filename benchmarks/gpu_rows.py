"""What the rows of ``python -m benchmarks gpu`` have in common."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks import plain
from benchmarks.clocks import seconds_of
from benchmarks.gpu_floors import Floors
from pointmae_zoo.datasets import augmentation
from pointmae_zoo.models import encoder, reconstruction
from pointmae_zoo.ops import neighbors


@dataclass(frozen=True)
class Bench:
    """What a row needs to know.

    Args:
        device: where it is measured.
        seconds: for each row, after its warm-up.
        floors: of the device.
    """

    device: torch.device
    seconds: float
    floors: Floors

    def times(self, *runs: Callable[[], object]) -> list[float]:
        return seconds_of(list(runs), self.device, self.seconds)


@dataclass(frozen=True)
class DeviceRow:
    """One line. Times are medians in seconds.

    Args:
        name: what was measured, with its size.
        ours, plain: of the package and of the plain formulation; None: there is none.
        floor: what the device needs at least.
        floor_by: what that comes from: ``bytes``, ``operations`` or ``latency``.
        target: the largest multiple of the floor, or the smallest ratio to the plain time, that counts as
            met; see ``target_of``.
        target_of: ``floor`` or ``plain``; empty: nothing was promised.
        note: what was checked, and what the two sides are.
    """

    name: str
    ours: float
    plain: float | None = None
    floor: float | None = None
    floor_by: str = ""
    target: float | None = None
    target_of: str = ""
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """plain / ours."""
        return None if self.plain is None else self.plain / self.ours

    @property
    def of_floor(self) -> float | None:
        """ours / floor."""
        return None if not self.floor else self.ours / self.floor

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        if self.target_of == "floor":
            return None if self.of_floor is None else self.of_floor <= self.target
        return None if self.ratio is None else self.ratio >= self.target

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "of_floor": self.of_floor, "met": self.met}

    def __str__(self) -> str:
        times = f"{1e3 * self.ours:10.3f} ms"
        times += " " * 14 if self.plain is None else f" {1e3 * self.plain:10.3f} ms"
        times += " " * 8 if self.ratio is None else f" {self.ratio:6.1f}x"
        floor = "" if self.of_floor is None else f"{self.of_floor:.1f} times its floor ({self.floor_by})"
        verdict = {None: "", True: "met; ", False: "MISSED; "}[self.met]
        said = "; ".join(one for one in (floor, self.note) if one)
        return f"{self.name:<48} {times} {verdict}{said}"


def floor_of(floors: Floors, *, bytes_moved: float, operations: float, chain: int = 0) -> tuple[float, str]:
    """The longest of the three: moving so many bytes, computing so many float32 operations, going through so
    many steps of which each waits for the one before."""
    candidates = {
        "bytes": bytes_moved / floors.bandwidth,
        "operations": operations / floors.float32,
        "latency": chain * floors.chain_step,
    }
    by = max(candidates, key=lambda name: candidates[name])
    return candidates[by], by


@contextlib.contextmanager
def plain_ops() -> Iterator[None]:
    """The package's models with plain searches and a plain Chamfer distance."""

    def sample(points: Tensor, count: int, *, skip_near_origin: bool = False) -> Tensor:
        del skip_near_origin  # a rule of converted weights
        return plain.farthest_point_sample(points, count)

    def nearest(query: Tensor, points: Tensor, k: int) -> Tensor:
        return plain.knn(query.float(), points.float(), k)

    def chamfer(prediction: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
        if valid is not None:
            prediction, target = prediction[valid], target[valid]
        return plain.chamfer_distance(prediction, target)

    with (
        mock.patch.object(encoder, "farthest_point_sample", sample),
        mock.patch.object(augmentation, "farthest_point_sample", sample),
        mock.patch.object(encoder, "knn", nearest),
        mock.patch.object(neighbors, "knn", nearest),
        mock.patch.object(reconstruction, "chamfer_distance", chamfer),
    ):
        yield
