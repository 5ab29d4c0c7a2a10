"""Requests to the Hub: retried while that may help, and their errors explained. Loading and pushing both call
``huggingface_hub`` through this file.

Errors are told apart by what all versions of the client share: a response with a status, its own classes, or
the system's errors underneath.
"""

import errno
import json
import logging
import os
import re
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any, TypeGuard, TypeVar

logger = logging.getLogger(__name__)

ATTEMPTS = 4
"""How often a request is made while the server is busy or failing, or the connection is cut."""
PAUSE = 1.0
"""Seconds before the second attempt; twice as many before each further one."""
PATIENCE = 60.0
"""Seconds after the first attempt after which none is begun; a longer Retry-After is not waited for."""

_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)
_FULL = (errno.ENOSPC, errno.EDQUOT)

Result = TypeVar("Result")


class HubError(OSError):
    """A load or push that failed: why, in one line, never with a token in it."""


def with_retries(call: Callable[[], Result], *, attempts: int = ATTEMPTS) -> Result:
    """Call, and try again while the error may pass; returns what ``call`` returns.

    Waits as long as the server asks for, and at least `PAUSE`. Raises the last error as it came (`explained`
    turns it into words), without what the caller was handling before, which has nothing to do with it.
    """
    before = sys.exc_info()[1]
    started, pause = monotonic(), PAUSE
    for attempt in range(1, attempts + 1):
        try:
            return call()
        except Exception as error:
            _detach(error, before)
            wait = max(pause, _asked_to_wait(error) or 0.0)
            late = monotonic() - started + wait > PATIENCE
            if not may_pass(error) or late or attempt == attempts:
                raise
            said = "the connection was cut off" if status_of(error) is None else f"HTTP {status_of(error)}"
        logger.warning("the Hub: %s; trying again in %g s", said, wait)
        sleep(wait)
        pause *= 2
    raise AssertionError("attempts: at least 1 expected")


def may_pass(error: BaseException) -> bool:
    """Whether trying again makes sense: a busy or failing server, or a connection that was cut off."""
    from huggingface_hub import errors

    status = status_of(error)
    if status is not None:
        return status in _MAY_PASS
    chain = list(_chain(error))
    final = (
        errors.OfflineModeIsEnabled,
        errors.LocalTokenNotFoundError,
        ConnectionRefusedError,
        socket.gaierror,
        ssl.SSLCertVerificationError,
    )
    if _of_no_hub(error) or any(isinstance(one, final) or _of_this_machine(one) for one in chain):
        return False
    return not isinstance(chain[-1], ValueError)


def explained(
    error: BaseException,
    about: str,
    *,
    file: str | None = None,
    right: str = "read",
    place: str | None = None,
) -> HubError:
    """The client's error in one line of our own: what is wrong and what to do.

    Args:
        error: whatever a call of the client raised, through `with_retries`.
        about: ``org/repo`` or ``org/repo@revision``.
        file: what was asked for, where it was one file.
        right: what a token must allow: ``read``, on the way in, or ``write``, on the way out.
        place: the folder that was being written to.
    """
    from huggingface_hub import constants, errors

    def holds(*kinds: type[BaseException]) -> bool:
        return any(isinstance(one, kinds) for one in _chain(error))

    repo, _, revision = about.partition("@")
    page = f"{constants.ENDPOINT}/{repo}"
    status = status_of(error)
    login = "log in with 'hf auth login' or set HF_TOKEN"
    here = [one for one in _chain(error) if _of_this_machine(one)]
    if any(one.errno in _FULL for one in here):
        room = f"the disk of {place}" if place else "a disk of this machine"
        said = f"{room} is full; make room" + (", or name another cache_dir (HF_HOME)" if place else "")
    elif holds(errors.OfflineModeIsEnabled):
        why = "send something" if right == "write" else "load what is not in the cache"
        said = f"HF_HUB_OFFLINE is set, so the Hub is not asked; unset it to {why}"
    elif holds(errors.LocalTokenNotFoundError):
        said = f"token=True, but there is none; {login}"
    elif holds(errors.GatedRepoError):
        said = f"gated: ask for access at {page}, then {login}"
    elif holds(errors.DisabledRepoError):
        said = f"disabled by the Hub; {page} may say why"
    elif holds(errors.RevisionNotFoundError):
        said = (
            f"no revision {revision or 'main'!r}; a branch, a tag or a commit (all its 40 digits) expected, "
            f"see {page}/commits"
        )
    elif status == 404 and file is not None and not holds(errors.RepositoryNotFoundError):
        said = f"has no file {file}"
    elif status == 404 or holds(errors.RepositoryNotFoundError):
        said = (
            f"no such repository at {constants.ENDPOINT}, or a private one; check the name, and for a "
            f"private one {login}"
        )
    elif status == 401:
        said = f"the Hub does not know this token; {login} again, or take the wrong one away"
    elif status == 403:
        said = f"refused (HTTP 403): this login may not {right} it; ask its owner, or use a token that may"
    elif status == 429:
        wait = _asked_to_wait(error)
        when = f"in {wait:g} s" if wait else "later"
        said = f"too many requests (HTTP 429); try again {when}, or {login}: who is logged in may ask more"
    elif status is not None and status >= 500:
        said = f"the Hub is failing (HTTP {status}); try again later"
    elif status is not None:
        said = f"the Hub answers with HTTP {status}; see {page}"
    elif here and place:
        said = f"cannot be kept in {place} ({_innermost(error)}); name another cache_dir (HF_HOME)"
    elif here:
        what = next((str(one.filename) for one in here if one.filename), "a file of this machine")
        said = f"{what} cannot be used ({_innermost(error)}); check it, and who may read and write it"
    elif holds(ssl.SSLCertVerificationError):
        said = f"the certificate of {constants.ENDPOINT} is not accepted; check the clock, and any proxy"
    elif _of_no_hub(error):
        said = (
            f"{constants.ENDPOINT} does not answer as a Hub does; check HF_ENDPOINT, and whether this "
            "network asks for a login"
        )
    elif holds(ConnectionRefusedError, socket.gaierror):
        said = f"{constants.ENDPOINT} cannot be reached ({_innermost(error)}); check the connection"
    else:
        said = f"the connection to {constants.ENDPOINT} failed ({_innermost(error)}); try again later"
    return HubError(f"{about}: {said}")


def check_token(token: str | bool | None) -> None:
    """Refuse what no token can be, before a library prints it in an error of its own.

    Raises:
        ValueError: blanks, line ends or other characters that no token has; it does not repeat the token.
    """
    if isinstance(token, str) and not re.fullmatch(r"[!-~]+", token):
        raise ValueError("token: characters that no token has (blanks? a line end?); it is not shown here")


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error, if a server has answered."""
    for one in _chain(error):
        status = getattr(getattr(one, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    return None


def _asked_to_wait(error: BaseException) -> float | None:
    """Seconds that the server wants to be left alone: Retry-After, or the Hub's RateLimit header."""
    for one in _chain(error):
        headers: Any = getattr(getattr(one, "response", None), "headers", None) or {}
        if re.fullmatch(r"\d{1,6}", headers.get("Retry-After", "")):
            return float(headers["Retry-After"])
        left = re.search(r"\br=0;t=(\d{1,6})", headers.get("RateLimit", ""))
        if left:
            return float(left[1])
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it, outermost first."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _detach(error: BaseException, before: BaseException | None) -> None:
    """Unlink an error from what was being handled before the call."""
    for one in _chain(error):
        if one.__context__ is before:
            one.__context__ = None


def _of_no_hub(error: BaseException) -> bool:
    """Whether the client got an answer that is not the Hub's."""
    return isinstance(error, (TypeError, AttributeError, LookupError)) or any(
        isinstance(one, (json.JSONDecodeError, UnicodeDecodeError)) for one in _chain(error)
    )


def _of_this_machine(error: BaseException) -> TypeGuard[OSError]:
    """An error of the file system or of a certificate, not of the connection."""
    return (
        isinstance(error, OSError)
        and error.errno is not None
        and not isinstance(error, (ConnectionError, TimeoutError, socket.gaierror, ssl.SSLError))
        and error.errno not in (errno.ENETUNREACH, errno.EHOSTUNREACH)
    )


def _innermost(error: BaseException) -> str:
    """What really happened, short, without addresses: those of a download may be signed."""
    last = list(_chain(error))[-1]
    if isinstance(last, OSError) and last.errno is not None and last.errno > 0:
        return os.strerror(last.errno)
    said = re.sub(r"https?://\S+", "...", " ".join(str(last).split()))
    return said[:120] or type(last).__name__
