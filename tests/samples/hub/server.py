"""A Hugging Face Hub on this machine: what the real client asks for, kept in a folder.

Models only, and of their API what loading and pushing needs. Large files go through LFS: up by the batch API,
down by a redirect to a signed address on another host ("localhost" in place of "127.0.0.1"), as the real one
sends to its CDN. Error codes, headers and status are those of the real Hub.
"""

import re
import secrets
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from samples.hub import api, transfer
from samples.hub.faults import Fault
from samples.hub.messages import Answer, Refused, Request, failure
from samples.hub.repository import Objects, Repository, is_lfs

HOST = "127.0.0.1"


@dataclass(frozen=True)
class User:
    name: str
    spaces: tuple[str, ...]  # where the user may write: their own name and their organizations
    writes: bool  # what the token is good for


@dataclass
class Order:
    fault: Fault
    method: str
    path: str
    times: int | None


def bind(port: int = 0) -> socket.socket:
    """A socket that holds a port; connections are refused until it listens."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((HOST, port))
    return bound


class LoopbackHub:
    """``start`` and ``stop`` as often as one likes, on the same port; ``reset`` forgets everything.

    Attributes:
        token: Of user "alice", who may write under "alice" and "org".
        read_token: Of alice, too, but it only reads.
        stranger_token: Of user "bob", who may write under "bob".
        requests: All requests since the last ``reset``, in the order of their arrival.
    """

    def __init__(self, folder: Path) -> None:
        self.socket = bind()
        self.port = self.socket.getsockname()[1]
        self.url = f"http://{HOST}:{self.port}"
        self.cdn = f"http://localhost:{self.port}"
        self.http: ThreadingHTTPServer | None = None
        self.connections: set[socket.socket] = set()
        self.lock = threading.RLock()
        self.reset(folder)

    def reset(self, folder: Path) -> None:
        """An empty Hub in another folder, with new tokens."""
        self.folder, self.objects = folder, Objects(folder / "objects")
        self.token, self.read_token, self.stranger_token = (f"hf_{secrets.token_hex(17)}" for _ in range(3))
        self.users = {
            self.token: User("alice", ("alice", "org"), writes=True),
            self.read_token: User("alice", ("alice", "org"), writes=False),
            self.stranger_token: User("bob", ("bob",), writes=True),
        }
        self.secret = secrets.token_hex(8)
        self.requests: list[Request] = []
        self.orders: list[Order] = []

    def start(self) -> None:
        self.http = ThreadingHTTPServer((HOST, self.port), handler(self), bind_and_activate=False)
        self.http.socket.close()
        self.http.socket = self.socket
        self.http.server_activate()
        self.http.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Nobody is answered any more, on open connections neither; the port stays ours."""
        if self.http is None:
            return
        self.http.shutdown()
        self.http.server_close()
        self.http = None
        for connection in list(self.connections):
            with suppress(OSError):  # the client was faster
                connection.shutdown(socket.SHUT_RDWR)
        self.socket = bind(self.port)

    # What a test does by hand, and what it asks.

    def repository(self, repo_id: str) -> Repository:
        return Repository(self.folder / "models", self.objects, repo_id)

    def create(
        self, repo_id: str, files: dict[str, bytes], *, private: bool = False, gated: bool = False
    ) -> str:
        """A repository with the files in its second commit, which is returned."""
        self.repository(repo_id).create(private, gated, user="alice")
        return self.commit(repo_id, files)

    def commit(self, repo_id: str, files: dict[str, bytes | None], revision: str = "main") -> str:
        """Files that are added, replaced or (None) removed in one commit, which is returned."""
        added = {
            path: None if content is None else self.objects.add(content, is_lfs(path))
            for path, content in files.items()
        }
        return self.repository(repo_id).commit(added, "By hand", revision=revision, user="alice")[0]

    def order(self, fault: Fault, path: str, method: str = "GET", times: int | None = 1) -> None:
        """A fault for the next requests (None: all) with ``path`` in their path; "HEAD GET" means either."""
        self.orders.append(Order(fault, method, path, times))

    def asked(self, path: str, method: str | None = None) -> list[Request]:
        """The requests so far whose path contains ``path``."""
        return [
            request for request in self.requests if path in request.path and method in (None, request.method)
        ]

    # What clients get.

    def answer(self, request: Request) -> Answer:
        with self.lock:
            self.requests.append(request)
            order = next(
                (o for o in self.orders if request.method in o.method.split() and o.path in request.path),
                None,
            )
            if order is not None and order.times is not None:
                order.times -= 1
                if order.times == 0:
                    self.orders.remove(order)
        answer = order.fault(lambda: self.respond(request)) if order else self.respond(request)
        request.status = answer.status
        return answer

    def respond(self, request: Request) -> Answer:
        for methods, pattern, respond in ROUTES:
            match = re.fullmatch(pattern, request.raw_path)
            if match and request.method in methods.split():
                parts = {name: unquote(part) for name, part in match.groupdict().items() if part}
                try:
                    with self.lock:
                        return respond(self, request, **parts)
                except Refused as refused:
                    return refused.answer
        return failure(404, f"Sorry, we can't find {request.method} {request.path}")

    def user(self, request: Request) -> User | None:
        if request.token is None:
            return None
        if request.token not in self.users:
            raise Refused(failure(401, "Invalid credentials in Authorization header"))
        return self.users[request.token]

    def writer(self, request: Request) -> User:
        user = self.user(request)
        if user is None:
            raise Refused(failure(401, "Invalid username or password."))
        return user

    def open(self, request: Request, repo: str) -> Repository:
        """The repository, if the request may know of it."""
        user, repository = self.user(request), self.repository(repo)
        ours = user is not None and repo.split("/")[0] in user.spaces
        if repository.exists() and (ours or not repository.settings["private"]):
            return repository
        raise Refused(failure(404 if user else 401, "Repository not found", "RepoNotFound"))

    def open_content(self, request: Request, repo: str) -> Repository:
        """The repository, if the request may read its files."""
        repository, user = self.open(request, repo), self.user(request)
        settings = repository.settings
        if settings["gated"] and not (
            user and (repo.split("/")[0] in user.spaces or user.name in settings["granted"])
        ):
            message = f"Access to model {repo} is restricted"
            if user is None:
                message += ". You must have access to it and be authenticated to access it. Please log in."
            else:
                message += (
                    f" and you are not in the authorized list. Visit {self.url}/{repo} to ask for access."
                )
            raise Refused(failure(403 if user else 401, message, "GatedRepo"))
        return repository

    def open_writing(self, request: Request, repo: str, pull_request: bool = False) -> Repository:
        """The repository, if the request may change it, or propose a change to it."""
        user = self.writer(request)
        repository = self.open(request, repo)
        if not user.writes or not (pull_request or repo.split("/")[0] in user.spaces):
            message = "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request"
            raise Refused(failure(403, message))
        return repository

    def resolve(self, repository: Repository, revision: str) -> str:
        try:
            return repository.resolve(revision)
        except KeyError:
            raise Refused(failure(404, f"Invalid rev id: {revision}", "RevisionNotFound")) from None


REPO, REV = r"(?P<repo>[^/]+/[^/]+)", r"(?P<revision>[^/]+)"
MODEL = rf"/api/models/{REPO}"
ROUTES = [
    ("GET", r"/api/whoami-v2", api.whoami),
    ("POST", r"/api/validate-yaml", api.validate_yaml),
    ("POST", r"/api/repos/create", api.create_repo),
    ("DELETE", r"/api/repos/delete", api.delete_repo),
    ("GET", MODEL, api.model_info),
    ("GET", rf"{MODEL}/revision/{REV}", api.model_info),
    ("GET", rf"{MODEL}/auth-check", api.auth_check),
    ("PUT", rf"{MODEL}/settings", api.settings),
    ("GET", rf"{MODEL}/refs", api.refs),
    ("GET", rf"{MODEL}/commits/{REV}", api.commits),
    ("GET", rf"{MODEL}/tree/{REV}(/(?P<folder>.+))?", api.tree),
    ("POST", rf"{MODEL}/paths-info/{REV}", api.paths_info),
    ("POST DELETE", rf"{MODEL}/branch/{REV}", api.branch),
    ("POST", rf"{MODEL}/tag/{REV}", api.tag),
    ("POST", rf"{MODEL}/preupload/{REV}", transfer.preupload),
    ("POST", rf"{MODEL}/commit/{REV}", transfer.commit),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", transfer.lfs_batch),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/verify", transfer.lfs_verify),
    ("PUT", r"/lfs-upload/(?P<sha256>[0-9a-f]{64})", transfer.lfs_upload),
    ("HEAD GET", rf"/{REPO}/resolve/{REV}/(?P<path>.+)", transfer.resolve),
    ("HEAD GET", r"/cdn/(?P<sha256>[0-9a-f]{64})/(?P<name>[^/]+)", transfer.cdn),
]


def handler(hub: LoopbackHub) -> type[BaseHTTPRequestHandler]:
    """Reads requests from one connection and writes what the Hub answers."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        content: bytes | None = None  # the body of the request, once it is read

        def setup(self) -> None:
            super().setup()
            hub.connections.add(self.connection)

        def finish(self) -> None:
            super().finish()
            hub.connections.discard(self.connection)

        def read(self) -> bytes:
            if self.content is None:
                self.content = self.rfile.read(int(self.headers["Content-Length"] or 0))
            return self.content

        def do(self) -> None:
            self.content = None
            address = urlsplit(self.path)
            request = Request(
                method=self.command,
                path=unquote(address.path),
                raw_path=address.path,
                query=parse_qs(address.query),
                host=self.headers["Host"].split(":")[0],
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.read,
            )
            answer = hub.answer(request)
            if answer.status:
                self.read()  # what was not asked for yet, or it would be taken for the next request
                self.send(answer)
            if answer.status == 0 or answer.cut is not None:
                self.close_connection = True

        do_HEAD = do_GET = do_POST = do_PUT = do_DELETE = do

        def send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            body = answer.body[: answer.cut]
            piece = max(1, -(-len(body) // 20)) if answer.pause else max(1, len(body))
            for start in range(0, len(body), piece):
                time.sleep(answer.pause)
                self.wfile.write(body[start : start + piece])
            if answer.reset:
                # Nothing lingers: closing sends a reset, where it would else send an end of file.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.rfile.close()
                self.connection.close()

        def log_message(self, *_: object) -> None:
            pass

    return Handler
