"""A server on this machine that can be told to fail."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

CONTENT = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()


class Server:
    """Gives ``content`` under every path; ``faults`` are taken one a request, the first first."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.etag: str | None = '"one"'
        self.headers: dict[str, str] = {}
        self.faults: list[Callable[[BaseHTTPRequestHandler], bool]] = []
        self.ranges: list[str | None] = []
        self.paths: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.ranges.append(self.headers["Range"])
                server.paths.append(self.path)
                if server.faults and server.faults.pop(0)(self):
                    return
                server.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/file.zip"

    def answer(self, handler: BaseHTTPRequestHandler, cut: int | None = None) -> None:
        """As the standard says: a range if the file is still the one that the client has."""
        content, start = self.content, 0
        wanted = handler.headers["Range"]
        if wanted and handler.headers["If-Range"] in (None, self.etag):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                status(416, {"Content-Range": f"bytes */{len(content)}"})(handler)
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            handler.send_response(200)
        if self.etag:
            handler.send_header("ETag", self.etag)
        for key, value in self.headers.items():
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        end = len(content) if cut is None else start + cut
        handler.wfile.write(content[start:end])
        if cut is not None:
            handler.close_connection = True
            handler.wfile.flush()
            handler.connection.close()

    def cut_after(self, count: int) -> Callable[[BaseHTTPRequestHandler], bool]:
        def fault(handler: BaseHTTPRequestHandler) -> bool:
            self.answer(handler, cut=count)
            return True

        return fault


def status(code: int, headers: dict[str, str] | None = None) -> Callable[[BaseHTTPRequestHandler], bool]:
    def fault(handler: BaseHTTPRequestHandler) -> bool:
        handler.send_response(code)
        for key, value in {"Content-Length": "0", **(headers or {})}.items():
            handler.send_header(key, value)
        handler.end_headers()
        return True

    return fault
