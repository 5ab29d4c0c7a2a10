"""Where metrics go: to ``metrics.jsonl``, and to trackers such as TensorBoard.

Imports no torch, so that the command line can name the trackers at once.
"""

import contextlib
import difflib
import importlib.util
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pointmae_zoo.system.files import written_whole

if TYPE_CHECKING:
    from accelerate import Accelerator

    from pointmae_zoo.train.recipes import TrainingRecipe

TRACKERS = ("tensorboard", "wandb", "trackio")

PROJECT = "pointmae-zoo"
"""What trackers call the project. TensorBoard's logs lie in a folder of this name in the run folder."""


class Metrics:
    """``metrics.jsonl``: one line every so many steps.

    No line depends on time or machine, so the file of a resumed run equals that of an uninterrupted one. A
    full disk costs no line: lines that can't be written wait for the next one or for the run's end, and
    checkpoints hold them meanwhile.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size = 0  # bytes of the whole lines in the file
        self._waiting = b""

    @property
    def waiting(self) -> str:
        """Lines that could not be written yet."""
        return self._waiting.decode()

    def start(self, step: int, waiting: str = "") -> None:
        """Keep the lines of the first ``step`` steps; later ones will be written again.

        Args:
            waiting: lines that waited at that step; they may have been written since.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = waiting.encode().splitlines()
        if self.path.is_file():
            lines = self.path.read_bytes().splitlines() + lines
        kept = {at: line for line in lines if (at := _step_of(line)) <= step}
        text = b"".join(kept[at] + b"\n" for at in sorted(kept))
        with written_whole(self.path) as unfinished:
            unfinished.write_bytes(text)
        self._size, self._waiting = len(text), b""

    def add(self, line: dict[str, Any]) -> None:
        """Append a line, or keep it for later if the disk is full."""
        self._waiting += json.dumps(line).encode() + b"\n"
        try:
            self._write()
        except OSError as error:
            print(f"{self.path}: not written for now ({error.strerror})", file=sys.stderr)

    def finish(self) -> None:
        """Write the lines that wait.

        Raises:
            OSError: they can't be written.
        """
        try:
            self._write()
        except OSError as error:
            reason = error.strerror or error
            raise OSError(f"{self.path}: not written ({reason}); make room there and resume") from error

    def _write(self) -> None:
        if not self._waiting:
            return
        with open(self.path, "r+b") as stream:
            stream.truncate(self._size)  # the part of a line that a full disk has cut
            stream.seek(self._size)
            stream.write(self._waiting)
        self._size, self._waiting = self._size + len(self._waiting), b""


def _step_of(line: bytes) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # cut short by a crash
        return math.inf


def check_trackers(names: Sequence[str]) -> None:
    """Check the names of trackers.

    Raises:
        ValueError: a name that is not in ``TRACKERS``.
        ModuleNotFoundError: a tracker is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            near = difflib.get_close_matches(name, TRACKERS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(TRACKERS)}"
            raise ValueError(f"no tracker is called {name!r}; {hint}")
        if importlib.util.find_spec(name) is None:
            package = '"pointmae-zoo[train]"' if name == "tensorboard" else name
            raise ModuleNotFoundError(f"--track {name}: not installed; pip install {package}", name=name)


@contextlib.contextmanager
def tracking(accelerator: "Accelerator", recipe: "TrainingRecipe", names: Sequence[str]) -> Iterator[None]:
    """Trackers that run while the block lasts; they also get the recipe."""
    if names:
        settings = {
            name: value if isinstance(value, (int, float, str)) else str(value)
            for name, value in recipe.to_dict().items()
        }
        accelerator.init_trackers(PROJECT)
        for tracker in accelerator.trackers:
            if tracker.name == "tensorboard":
                # As text: hyperparameters would lie in a second folder, named by the time.
                rows = "\n".join(f"    {name}: {value}" for name, value in settings.items())
                tracker.log({"recipe": rows}, step=0)
            else:
                tracker.store_init_configuration(settings)
    try:
        yield
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()
