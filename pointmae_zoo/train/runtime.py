"""The process of a run: devices, precision, determinism, memory, signals, and ``torch.compile``."""

import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch._dynamo.config as dynamo_config
import torch._functorch.config as functorch_config
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pointmae_zoo.models.layers import Block
from pointmae_zoo.models.teacher.image_teacher import Teacher
from pointmae_zoo.ops.precision import can_compute, chosen_precision
from pointmae_zoo.train.metrics import check_trackers
from pointmae_zoo.train.recipes import TrainingRecipe

if TYPE_CHECKING:
    from accelerate import Accelerator

# Parameters of glibc's mallopt, from its malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


@contextlib.contextmanager
def accelerated(
    recipe: TrainingRecipe, device: str, out: Path, trackers: Sequence[str] = ()
) -> "Iterator[Accelerator]":
    """The processes and devices of a run, as ``torchrun`` or ``accelerate launch`` started them.

    Raises:
        ValueError: the batch can't be shared evenly; no such device or tracker; the device lacks the recipe's
            precision; several processes were given one numbered device.
        ModuleNotFoundError: accelerate or a tracker is missing.
    """
    check_trackers(trackers)
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if recipe.batch_size % (processes * recipe.accumulation_steps):
        raise ValueError(
            f"batch_size is {recipe.batch_size}, expected a multiple of {processes} processes times "
            f"{recipe.accumulation_steps} accumulation_steps"
        )
    _choose(device, processes)
    numbers = chosen_precision(recipe.precision, torch.device(device))
    if not can_compute(numbers, torch.device(device)):
        raise ValueError(
            f"device {device}: has no {numbers}, which the recipe's precision asks for; choose another "
            "device, or start a run with --set precision=float32"
        )
    # accelerate remembers the first settings of a process; a second run may have others.
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    accelerator = Accelerator(
        cpu=torch.device(device).type == "cpu",
        mixed_precision="bf16" if numbers == "bfloat16" else "no",
        gradient_accumulation_steps=recipe.accumulation_steps,
        log_with=list(trackers) or None,
        project_dir=out,
        kwargs_handlers=[
            # BatchNorm's statistics are synchronised by the layers themselves.
            DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
            # Processes wait while one of them reads all clouds, and later for the last one to finish its
            # share of the teacher's targets.
            InitProcessGroupKwargs(timeout=timedelta(hours=12)),
        ],
    )
    try:
        if accelerator.device.type != torch.device(device).type:
            raise ValueError(f"device {device}: not there; this machine has {accelerator.device.type}")
        yield accelerator
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            _end_process_group(accelerator)
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()


def _end_process_group(accelerator: "Accelerator") -> None:
    """Destroy the process group and make sure that its threads end.

    The threads live as long as a reference to the group, and the wrapped model has one in a circle of
    references. A thread that still returns a tensor while Python shuts down ends the process with "terminate
    called without an active exception". The last reference must be Python's: only then is the interpreter
    free while the threads end.
    """
    group = torch.distributed.group.WORLD
    accelerator.free_memory()
    gc.collect()
    torch.distributed.destroy_process_group()
    del group


def _choose(device: str, processes: int) -> None:
    """Make a numbered GPU the process' own."""
    kind, numbered, number = device.partition(":")
    if numbered and processes > 1:
        raise ValueError(f"device {device}: {processes} processes were started; {kind} gives each its own")
    if numbered and kind == "cuda":
        if not torch.cuda.is_available() or int(number) >= torch.cuda.device_count():
            raise ValueError(f"device {device}: not there; this machine has {torch.cuda.device_count()} GPUs")
        torch.cuda.set_device(device)


@contextlib.contextmanager
def precision(name: str, device: torch.device) -> Iterator[None]:
    """Around the forward pass, in addition to accelerate's autocast.

    On a CPU in bfloat16 attention is the plain one: the backward pass of the fused one is several times
    slower.
    """
    if name == "bfloat16" and device.type == "cpu":
        with sdpa_kernel(SDPBackend.MATH):
            yield
    else:
        yield


@contextlib.contextmanager
def determinism(wanted: bool) -> Iterator[None]:
    """Only deterministic algorithms while the block lasts; an operation without one raises a RuntimeError."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step instead of returning it to the system.

    A step's activations are tens of megabytes each. By default each is mapped and unmapped every time, and
    the
    kernel zeroes its pages: a sixth of a step's time. Without glibc this does nothing.
    """
    if sys.platform != "linux":  # elsewhere CDLL(None) may not even be allowed
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 256 * 2**20)


@contextlib.contextmanager
def signals_caught() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM set the event instead of ending the process; a second signal ends it as usual."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, _frame: object) -> None:
        stopped.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, handle)
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_GRAPHS = 64
"""The most graphs of one function: for each level's width and number of tokens, with and without mask, drop
path and gradients. Beyond torch's own limit of 8 it silently stops compiling."""


def compile_blocks(model: nn.Module, *, backward_once: bool) -> None:
    """Compile a model's transformer blocks, in place; a model without any as a whole.

    The blocks take most of the time, and they are alike, so a few graphs serve all of them. Grouping, masks
    and losses have kernels of their own, which the compiler can't look into.

    On a CPU the number of visible tokens differs between batches, and one graph serves all numbers. Elsewhere
    the number depends only on the configuration, and each graph is for one number.

    Args:
        backward_once: the backward pass may overwrite what the forward pass kept for it, which saves memory.
            False forbids it in this process from now on.
    """
    if not backward_once:
        functorch_config.donated_buffer = False
    dynamo_config.cache_size_limit = max(_GRAPHS, dynamo_config.cache_size_limit)
    dynamic = None if next(model.parameters()).device.type == "cpu" else False
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    shared = torch.compile(Block.residuals, dynamic=dynamic)
    for block in blocks:
        block.compiled = shared
    if not blocks:
        model.compile(dynamic=dynamic)


def compile_teacher(teacher: Teacher) -> None:
    """Compile the blocks of a plain transformer, in place, except the last, whose attention is read. Other
    networks are left alone."""
    if teacher.is_transformer:
        for block in teacher.network.blocks[:-1]:
            block.compile(dynamic=False)
