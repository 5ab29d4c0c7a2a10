"""The clouds of a run: read from files or generated, in an order that depends on seed and step alone."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pointmae_zoo.data.clouds import normalize_clouds, read_training_clouds
from pointmae_zoo.data.files import written_whole


@dataclass(frozen=True)
class TrainingClouds:
    """Everything that a run sees.

    Args:
        points: (M, N, 3) float32, each in the unit sphere; clouds from files first, then the procedural ones.
        num_from_files: how many come from files.
        sha256: of each file.
    """

    points: NDArray[np.float32]
    num_from_files: int
    sha256: list[str]


def training_clouds(
    data: tuple[str, ...], procedural: int | None, num_points: int, *, seed: int, cache: Path, progress: bool
) -> TrainingClouds:
    """Read the files' training clouds and add procedural ones (None: as many as the files hold).

    Procedural clouds are kept in ``cache``, as generating them takes longer than reading them.
    """
    points, hashes = read_training_clouds(data, num_points)
    count = len(points) if procedural is None else procedural
    if count:
        made = _procedural(count, seed, num_points, cache, progress)
        parts = np.concatenate([points, normalize_clouds(made)])
    else:
        parts = points
    return TrainingClouds(parts, len(points), hashes)


def _procedural(count: int, seed: int, num_points: int, cache: Path, progress: bool) -> NDArray[np.float32]:
    from pointmae_zoo.data.procedural import generate, generate_many

    # The first shapes stand for the generator's version: a changed rule must not meet shapes of the old one.
    sample = b"".join(generate(seed, 64, index=index).tobytes() for index in range(min(count, 16)))
    version = hashlib.sha256(sample).hexdigest()[:12]
    path = cache / f"procedural-{version}-{seed}-{count}x{num_points}.npy"
    if path.is_file():
        return np.load(path)
    made = generate_many(count, seed=seed, num_points=num_points, progress=progress)
    cache.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as unfinished, open(unfinished, "wb") as stream:
        np.save(stream, made)
    return made


def batch_indices(step: int, *, count: int, batch_size: int, seed: int) -> NDArray[np.int64]:
    """Which clouds step ``step`` sees: (batch_size,), a function of its arguments alone, so that nothing need
    be stored to resume.

    Epochs are permutations of all clouds; what does not fill a last batch is left out until the next. Fewer
    clouds than a batch: permutations follow one another within it.
    """
    if count >= batch_size:
        epoch, place = divmod(step, count // batch_size)
        order = np.random.default_rng([seed, 1, epoch]).permutation(count)
        return order[place * batch_size : (place + 1) * batch_size]
    rounds = -(-batch_size // count)
    rng = np.random.default_rng([seed, 1, step])
    return np.concatenate([rng.permutation(count) for _ in range(rounds)])[:batch_size]
