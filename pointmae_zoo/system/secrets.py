"""What must not leave this machine in files that others see: tokens, and the names of home folders."""

import os
import re
from collections.abc import Sequence

_NAMED = re.compile(r"(?i)(token(?!s)|secret|password|passwd|api[-_]?key|access[-_]?key|credential)")
_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]+@")
# What tokens of common services look like. Plain words with dashes after sk- are not tokens.
_TOKEN = re.compile(
    r"\b(?:hf_|api_org_)[A-Za-z0-9]{20,}|\bhf_(?:oauth|jwt)_[\w.-]{20,}|\bgh[opsur]_[A-Za-z0-9]{30,}"
    r"|\bgithub_pat_\w{30,}|\bglpat-[\w-]{20,}|\bnpm_[A-Za-z0-9]{30,}|\bxox[abprs]-[\w-]{10,}"
    r"|\bsk-(?:[\w-]*[_-])?(?=[A-Za-z]*[0-9])[A-Za-z0-9]{20,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\bAIza[\w-]{30,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
# "password: ..." and the like, unless what follows was taken out already, or is nothing.
_STATED = re.compile(
    r"(?i)(?:password|passwd|secret|api[-_]?key|(?:access|secret|private)[-_]key|(?:access|auth|hf)[-_]?token)"
    r"[\"']?\s*[:=]\s*[\"']?(?!null\b|none\b)[^\s\"'*,\[{}\]]{4,}"
)
_WITH_USER = re.compile(r"://[^/?#@\s:]+:[^/?#@\s*]+@|https?://[^/?#@\s*]+@")
# A name of several words ends at a separator or a quote, where it is clear that they belong to it.
_HOME = re.compile(
    r"(?<![\w.~-])(?:/home|/Users|[A-Za-z]:(?:\\+|/)Users)(?:\\+|/)(?!Shared\b)"
    r"(?:[^\\/\s\"',:;]+(?: [^\\/\s\"',:;]+){1,3}(?=[\\/\"'])|[^\\/\s\"',:;]+)"
)


def without_secrets(words: Sequence[str]) -> list[str]:
    """A command line with ``***`` for what looks like a password, token or key, or an address' user."""
    cleaned = []
    hide = False
    for word in words:
        if hide:
            word, hide = "***", False
        elif _NAMED.search(word):
            name, separator, _ = word.partition("=")
            if separator:
                word = f"{name}=***"
            else:
                hide = word.startswith("-")
        cleaned.append(_TOKEN.sub("***", _IN_ADDRESS.sub("***@", word)))
    return cleaned


def line_of_secret(text: str, known: Sequence[str] = ()) -> int | None:
    """Number of the first line with one of the ``known`` secrets, or with what looks like a token, a stated
    password or an address with either; None if there is none."""
    for number, line in enumerate(text.splitlines(), 1):
        looks = any(pattern.search(line) for pattern in (_TOKEN, _STATED, _WITH_USER))
        if looks or any(secret and secret in line for secret in known):
            return number
    return None


def without_homes(text: str) -> str:
    """Replace home folders by ``~``: ``/home/ada/shapes`` becomes ``~/shapes``."""
    home = os.path.expanduser("~")
    if len(home) > 1:
        text = re.sub(rf"(?<![\w.~-]){re.escape(home)}(?![\w.-])", "~", text)
    return _HOME.sub("~", text)
