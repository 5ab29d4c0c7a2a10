"""How the loopback Hub can go wrong.

A fault gets the function that would give the answer: it may call it and change what comes, or not call it.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace

from samples.hub.messages import Answer, failure

Fault = Callable[[Callable[[], Answer]], Answer]


def refuse(status: int, message: str = "", code: str | None = None, **headers: str) -> Fault:
    """The error instead of the answer; nothing is done. ``Retry_After="1"`` adds that header."""
    answer = failure(status, message or f"Ordered error {status}", code, **headers)
    return lambda _: answer


def hang_up(_: Callable[[], Answer]) -> Answer:
    """The connection is closed instead of an answer; nothing is done."""
    return Answer(0)


def lose_answer(answer: Callable[[], Answer]) -> Answer:
    """What was asked is done, but the connection breaks before the answer."""
    answer()
    return Answer(0)


def stall(seconds: float) -> Fault:
    """Nothing at all for so long, and then the answer."""
    return after(lambda: time.sleep(seconds))


def cut(at: int, reset: bool = False) -> Fault:
    """The connection breaks after so many bytes of the body."""
    return lambda answer: replace(answer(), cut=at, reset=reset)


def slow(pause: float) -> Fault:
    """The body comes in twenty pieces with a pause before each."""
    return lambda answer: replace(answer(), pause=pause)


def with_etag(etag: str) -> Fault:
    """The right content under the wrong name."""

    def fault(answer: Callable[[], Answer]) -> Answer:
        right = answer()
        names = [name for name in ("ETag", "X-Linked-Etag") if name in right.headers]
        return replace(right, headers={**right.headers, **{name: f'"{etag}"' for name in names}})

    return fault


def with_content(content: bytes) -> Fault:
    """Another content than the one listed, with an ETag and a size of its own, and not from LFS."""

    def fault(answer: Callable[[], Answer]) -> Answer:
        headers = {
            name: value
            for name, value in answer().headers.items()
            if name not in ("Location", "X-Linked-Etag", "X-Linked-Size")
        }
        return Answer(200, {**headers, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}, content)

    return fault


def with_body(content: bytes) -> Fault:
    """Another body under the same headers, as from a broken disk."""
    return lambda answer: replace(answer(), body=content)


def after(action: Callable[[], object]) -> Fault:
    """The right answer, once something else has happened on the server."""

    def fault(answer: Callable[[], Answer]) -> Answer:
        action()
        return answer()

    return fault
