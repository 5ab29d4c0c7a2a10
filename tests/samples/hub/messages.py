"""What a client asks of the loopback Hub, and what it answers."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Request:
    method: str
    path: str  # without the query, unquoted
    raw_path: str  # a slash in a revision is %2F in it
    query: dict[str, list[str]]
    host: str  # "127.0.0.1" for the Hub, "localhost" for its CDN
    headers: dict[str, str]  # names in lower case
    body: Callable[[], bytes]
    status: int = 0  # of the answer; 0 while there is none, and if the connection was closed without one

    @property
    def token(self) -> str | None:
        return self.headers.get("authorization", "").removeprefix("Bearer ") or None

    def json(self) -> dict:
        return json.loads(self.body() or b"{}")


@dataclass(frozen=True)
class Answer:
    status: int = 200  # 0: the connection is closed without a word
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None  # bytes of the body after which the connection is cut
    reset: bool = False  # it is cut with a reset, not with an end of file
    pause: float = 0.0  # seconds between the twenty pieces in which the body is sent


def found(data: object, **headers: str) -> Answer:
    return Answer(
        200, {"Content-Type": "application/json; charset=utf-8", **headers}, json.dumps(data).encode()
    )


def failure(status: int, message: str, code: str | None = None, **headers: str) -> Answer:
    """An error as the Hub words it: in headers and in the body."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    headers["X-Error-Message"] = message
    if code:
        headers["X-Error-Code"] = code
    headers["Content-Type"] = "application/json; charset=utf-8"
    return Answer(status, headers, json.dumps({"error": message}).encode())


class Refused(Exception):
    def __init__(self, answer: Answer) -> None:
        self.answer = answer
