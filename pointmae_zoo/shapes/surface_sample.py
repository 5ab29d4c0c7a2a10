"""Points spread evenly over a shape, with their triangles: all that comparing it needs. numpy only."""

from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.shapes.pose import second_moments
from pointmae_zoo.shapes.surface import Geometry, MeshError

STORED = 8000
"""Points that others are measured against."""
ASKED = 3000
"""Points that are measured against others; other ones, so that a surface can be measured against itself."""
FEWEST = 16
"""A cloud has at least so many points."""
SAMPLE_BYTES = 12 * (4 * STORED + ASKED)
"""Of a sample of a mesh in float32."""


class SurfaceSample(NamedTuple):
    """Points of a shape about its centroid, float64, in the file's unit."""

    stored: NDArray[np.float64]
    """(STORED, 3); of a cloud every other point, at most as many."""
    asked: NDArray[np.float64]
    """(ASKED, 3); of a cloud the others, at most as many."""
    corners: NDArray[np.float64] | None
    """(STORED, 3 corners, 3): the triangles of the stored points. None for a cloud."""
    centroid: NDArray[np.float64]
    """(3,) of the surface, in the file's coordinates."""
    moments: NDArray[np.float64]
    """(3, 3) second moments about it."""

    def to_bytes(self) -> tuple[dict[str, Any], bytes]:
        """A header that fits into JSON, and the points as little-endian float32."""
        header = {
            "stored": len(self.stored),
            "asked": len(self.asked),
            "cloud": self.corners is None,
            "centroid": self.centroid.tolist(),
            "moments": self.moments.tolist(),
        }
        parts = [self.stored, self.asked] + ([] if self.corners is None else [self.corners])
        return header, b"".join(part.astype("<f4").tobytes() for part in parts)

    @classmethod
    def of_bytes(cls, body: bytes, header: dict[str, Any]) -> Self:
        """What `to_bytes` gave."""
        numbers = np.frombuffer(body, dtype="<f4").astype(np.float64).reshape(-1, 3)
        stored, asked = header["stored"], header["asked"]
        corners = None if header["cloud"] else numbers[stored + asked :].reshape(-1, 3, 3)
        place = np.array(header["centroid"]), np.array(header["moments"])
        return cls(numbers[:stored], numbers[stored : stored + asked], corners, *place)


def sample_surface(geometry: Geometry, seed: int = 0) -> SurfaceSample:
    """Points of a shape. The same geometry and seed give the same points.

    Raises:
        MeshError: a surface without area, or too few points.
    """
    triangles, points = geometry
    rng = np.random.default_rng(seed)
    if not triangles.shape[2]:
        if len(points) < FEWEST:
            raise MeshError(f"has only {len(points)} points: at least {FEWEST} are needed to compare it")
        centroid = points.astype(np.float64).mean(axis=0)
        chosen = points[rng.permutation(len(points))].astype(np.float64) - centroid
        moments = second_moments(geometry)
        return SurfaceSample(chosen[::2][:STORED], chosen[1::2][:ASKED], None, centroid, moments)
    middle = (triangles.min(axis=(0, 2)).astype(np.float64) + triangles.max(axis=(0, 2))) / 2
    corners = triangles.astype(np.float64) - middle[:, None]  # (3 corners, 3 axes, F)
    a, b, c = corners
    areas = np.linalg.norm(np.cross(b - a, c - a, axis=0), axis=0)
    cumulative = np.cumsum(areas)
    if not cumulative[-1] > 0:
        raise MeshError("has faces but no area: export it with its surface")
    centroid = (a + b + c) @ areas / (3 * cumulative[-1])
    found = []
    for count in (STORED, ASKED):
        # One point in each of so many equal shares of the area, not anywhere: so they lie more evenly.
        places = (np.arange(count) + rng.random(count)) / count * cumulative[-1]
        numbers = rng.permutation(np.searchsorted(cumulative, places, side="right"))
        numbers = np.minimum(numbers, np.flatnonzero(areas)[-1])
        root, along = np.sqrt(rng.random(count)), rng.random(count)
        weights = np.stack([1 - root, root * (1 - along), root * along], axis=1)  # (N, 3 corners)
        chosen = corners[:, :, numbers].transpose(2, 0, 1) - centroid  # (N, 3 corners, 3)
        found.append((np.einsum("nc,ncx->nx", weights, chosen), chosen))
    (stored, triangles_of), (asked, _) = found
    return SurfaceSample(stored, asked, triangles_of, centroid + middle, second_moments(geometry))
