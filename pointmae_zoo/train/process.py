"""What training asks of its process: to stop in good order, and to keep its memory."""

import contextlib
import ctypes
import signal
import sys
import threading
from collections.abc import Iterator

# Parameters of glibc's mallopt, from its malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next step instead of handing it back to the system.

    Activations of a step are tens of megabytes each. By default every one of them is mapped and unmapped
    anew, and its pages are zeroed by the kernel at each first touch: a sixth of a step's time. Does nothing
    where the C library is not glibc.
    """
    if sys.platform != "linux":  # elsewhere CDLL(None) may not even be allowed
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_M_TOP_PAD, 256 * 2**20)


@contextlib.contextmanager
def catch_signals() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM set the event instead of ending the process; a second one ends it as usual."""
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
