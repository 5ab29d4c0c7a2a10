"""A run and its folder: started, resumed or found finished; on which device; what it writes down."""

import contextlib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pointmae_zoo.ops.precision import chosen_precision, has_bfloat16, why_chosen
from pointmae_zoo.system.files import lock, written_whole
from pointmae_zoo.system.secrets import without_secrets
from pointmae_zoo.system.source_state import current_commit, versions
from pointmae_zoo.train.loop import train
from pointmae_zoo.train.metrics import PROJECT, tracking
from pointmae_zoo.train.recipe_files import write_recipe
from pointmae_zoo.train.recipes import TrainingRecipe
from pointmae_zoo.train.runtime import accelerated, keep_freed_memory
from pointmae_zoo.train.schedule import total_steps, warmup_steps
from pointmae_zoo.train.task import Task, TrainingResult
from pointmae_zoo.train.validation import Validation

if TYPE_CHECKING:
    from accelerate import Accelerator

_Recipe = TypeVar("_Recipe", bound=TrainingRecipe)

_ENVIRONMENT = "environment.json"


@contextlib.contextmanager
def locked_run_folder(out: Path) -> Iterator[None]:
    """Lock the run folder while the block lasts, and remove unfinished files of killed processes.

    Raises:
        ValueError: another process trains in it.
    """
    out.mkdir(parents=True, exist_ok=True)
    with open(out / ".lock", "wb") as stream:
        try:
            lock(stream)
        except BlockingIOError as error:
            raise ValueError(
                f"{out}: another process is training in it; wait for it, or choose another folder"
            ) from error
        for folder in (out, out / "checkpoints"):
            for left in folder.glob(".*.tmp"):
                left.unlink(missing_ok=True)
        yield


@dataclass(frozen=True)
class SessionPlace:
    """Device and cache folder of a session."""

    device: str
    cache: Path

    @classmethod
    def settled(
        cls, out: Path, device: str | None, cache: str | Path | None, *, resume: bool
    ) -> tuple[Self, str]:
        """The given ones, else those of the run to resume, else the CPU and ``out/cache``; and a line about
        what has changed since then (empty: nothing)."""
        before = _last_session(out) if resume else {}
        known_device, known_cache = before.get("device"), before.get("cache")
        differences = []
        if device and known_device and device != known_device:
            differences.append(f"device {device} (before: {known_device})")
        if cache and known_cache and _portable(Path(cache), out) != known_cache:
            differences.append(f"cache {cache} (before: {known_cache})")
        if not cache and known_cache:
            cache = out / os.path.expanduser(known_cache)
        line = f"{out}: resuming with {' and '.join(differences)}" if differences else ""
        return cls(device or known_device or "cpu", Path(cache or out / "cache")), line


def _last_session(out: Path) -> dict[str, str]:
    """Device and cache of a run's last session, as far as known."""
    try:
        session = json.loads((out / _ENVIRONMENT).read_text(encoding="utf-8"))["sessions"][-1]
        # Older versions stored only the device's description, and no cache.
        asked = {"device": session["device"].partition(" ")[0], **session.get("asked", {})}
        return {name: value for name, value in asked.items() if isinstance(value, str)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _portable(cache: Path, out: Path) -> str:
    """A cache folder as it is stored: relative to the run folder or to the home folder, if it lies in one. So
    no user's name is stored."""
    path, home = Path(os.path.abspath(cache)), Path(os.path.expanduser("~"))
    run = Path(os.path.abspath(out))
    if path.is_relative_to(run):
        return path.relative_to(run).as_posix()
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)


def write_environment(
    out: Path,
    accelerator: "Accelerator",
    data: dict[str, str],
    place: SessionPlace,
    precision: str,
    *,
    resumed: bool,
) -> None:
    """Write ``environment.json``: the hash of each data entry, and for every session of the run (each resume
    adds one) versions, commit, devices, cache, precision, processes and command line.

    Raises:
        ValueError: the run began with other data.
    """
    path = out / _ENVIRONMENT
    sessions = []
    if resumed:
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            sessions, known = list(before["sessions"]), list(before["data_sha256"].values())
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            state = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
            print(
                f"{path}: {state}, so the data can't be compared with the run's first data; begun anew",
                file=sys.stderr,
            )
        else:  # by position: names of entries have changed since the first version
            if changed := [name for at, name in enumerate(data) if known[at : at + 1] != [data[name]]]:
                raise ValueError(
                    f"data: {changed[0]} has changed since the run began; restore it, or start another run"
                )
    sessions.append(
        {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "versions": versions(),
            "commit": current_commit(),
            "device": device_name(accelerator.device),
            "asked": {"device": place.device, "cache": _portable(place.cache, out)},
            "precision": precision,
            "processes": accelerator.num_processes,
            "command": without_secrets(sys.argv),
        }
    )
    text = json.dumps({"data_sha256": data, "sessions": sessions}, indent=1)
    with written_whole(path) as unfinished:
        unfinished.write_text(text + "\n", encoding="utf-8")


def device_name(device: Any) -> str:
    """Such as ``"cuda (NVIDIA H200)"``, or ``"cpu (16 cores, 8 threads)"``."""
    import torch

    if device.type == "cuda":
        return f"{device.type} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({os.cpu_count()} cores, {torch.get_num_threads()} threads)"
    return str(device)


@dataclass(frozen=True)
class Run(Generic[_Recipe]):
    """A run that is open; `begin` writes the first files.

    Args:
        out: run folder.
        recipe: of the run, with a precision in place of ``auto``.
        cache: folder for prepared clouds and targets, which runs may share.
        accelerator: its processes and devices.
        resume: whether an earlier run is continued.
        progress: whether this process shows progress bars.
        commit: of the code when the run was opened; the checkout may change before it ends.
    """

    out: Path
    recipe: _Recipe
    cache: Path
    accelerator: "Accelerator"
    resume: bool
    progress: bool
    commit: str | None
    _place: SessionPlace
    _moved: str
    _trackers: Sequence[str]
    _held: contextlib.ExitStack

    @property
    def is_main(self) -> bool:
        return bool(self.accelerator.is_main_process)

    @contextlib.contextmanager
    def preparing(self) -> Iterator[None]:
        """Put the reading of data into this block: the main process goes first and fills the cache. If it
        fails, folders made for it are removed again, if they are empty."""
        new = [folder for folder in (self.cache, *self.cache.parents) if not folder.exists()]
        with self.accelerator.main_process_first():
            try:
                yield
            except Exception:
                for folder in new:
                    with contextlib.suppress(OSError):
                        folder.rmdir()
                raise

    def with_recipe(self, recipe: _Recipe) -> "Run[_Recipe]":
        """The run with choices settled that depend on its data; call it before `begin`."""
        return replace(self, recipe=recipe)

    def say(self, line: str) -> None:
        """Print a line, if progress is shown."""
        if self.progress:
            print(line, file=sys.stderr, flush=True)

    def begin(self, data_sha256: dict[str, str]) -> None:
        """Lock the run folder, and write recipe and environment into it. Check recipe and data before.

        Args:
            data_sha256: of every data entry.

        Raises:
            ValueError: another process trains in it; the run began with other data.
        """
        if not self.is_main:
            return
        self._held.enter_context(locked_run_folder(self.out))
        if self._moved:
            print(self._moved, file=sys.stderr)
        write_recipe(self.recipe, self.out / "recipe.yaml")
        write_environment(
            self.out, self.accelerator, data_sha256, self._place, self.recipe.precision, resumed=self.resume
        )

    def train(
        self,
        task: Task,
        *,
        validation: Validation | None = None,
        settle: Callable[[nn.Module], None] | None = None,
        expect: Callable[[NDArray[np.int64]], None] | None = None,
        layer_decay: float = 1.0,
    ) -> TrainingResult:
        """See `loop.train`."""
        if "tensorboard" in self._trackers:
            self.say(f"metrics for TensorBoard: tensorboard --logdir {shlex.quote(str(self.out / PROJECT))}")
        with tracking(self.accelerator, self.recipe, self._trackers):
            return train(
                task,
                self.recipe,
                self.out,
                self.accelerator,
                resume=self.resume,
                progress=self.progress,
                validation=validation,
                settle=settle,
                expect=expect,
                layer_decay=layer_decay,
            )


@contextlib.contextmanager
def open_run(
    recipe: _Recipe,
    out: Path,
    *,
    resume: bool,
    cache: str | Path | None,
    device: str | None,
    trackers: Sequence[str],
    progress: bool,
) -> Iterator[Run[_Recipe]]:
    """A run while the block lasts; at its end the processes wait for each other, and torch's global random
    state is restored.

    Raises:
        ValueError, ModuleNotFoundError: see ``accelerated``.
    """
    place, moved = SessionPlace.settled(out, device, cache, resume=resume)
    commit = current_commit()
    if torch.device(place.device).type == "cpu":
        keep_freed_memory()
    with (
        accelerated(recipe, place.device, out, trackers) as accelerator,
        torch.random.fork_rng(devices=[accelerator.device] if accelerator.device.type == "cuda" else []),
        contextlib.ExitStack() as held,
    ):
        progress = bool(progress and accelerator.is_main_process)
        settled = recipe.resolved(accelerator.device)
        run = Run(
            out, settled, place.cache, accelerator, resume, progress, commit, place, moved, trackers, held
        )
        if line := _precision_line(recipe, settled, accelerator.device):
            run.say(line)
        yield run
        accelerator.wait_for_everyone()


def _precision_line(asked: TrainingRecipe, settled: TrainingRecipe, device: torch.device) -> str:
    """A line that says which precision ``auto`` is and why, or that bfloat16 is emulated; or nothing."""
    if fields := asked.automatic():
        chosen = chosen_precision("auto", device)
        return f"{' and '.join(fields)}: auto is {chosen} here ({why_chosen(chosen, device)})"
    if settled.precision == "bfloat16" and not has_bfloat16(device):
        return "precision: bfloat16 is emulated on this processor, several times slower than float32"
    return ""


def steps_in_words(recipe: TrainingRecipe, count: int) -> tuple[str, str]:
    """The length of a run on ``count`` clouds, in words; and a line for the case that its warm-up is cut, or
    nothing."""
    steps = f"{total_steps(recipe, count):,} steps"
    asked, given = warmup_steps(recipe, count)
    line = ""
    if given != asked:
        name = "warmup_steps" if recipe.warmup_steps else "warmup_epochs"
        line = f"\n{name} asks for {asked:g} steps, but the run has {steps}: the warm-up is cut to {given:g}"
    return f"{steps} of {recipe.batch_size:,}", line
