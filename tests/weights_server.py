"""A server of files on this machine that supports, refuses and lies about Range."""

import contextlib
import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """A file, and how it is served."""

    content: bytes
    tag: str | None = '"one"'
    ranges: str = "heeds"
    """heeds: If-Range too; none: always the whole; careless: takes no notice of If-Range."""
    stop_at: int | None = None
    """Send up to this byte of the file, then wait for `go_on`."""
    drop_at: int | None = None
    """Send up to this byte of the file, then break the connection; once."""
    answers: list = field(default_factory=list)
    """Status codes to answer before anything is served."""
    chunked: bool = False
    moved_to: str | None = None
    """Answer with a redirection."""
    go_on: threading.Event = field(default_factory=threading.Event)

    @property
    def sha256(self):
        return hashlib.sha256(self.content).hexdigest()


class Server:
    """Serves `files` (path -> Served); `asked` has (path, Range) of every request."""

    def __init__(self):
        self.files, self.asked = {}, []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                with contextlib.suppress(ConnectionError):
                    server._answer(self)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def url(self, name):
        return f"http://127.0.0.1:{self._http.server_port}/{name}"

    def close(self):
        for file in self.files.values():
            file.go_on.set()
        self._http.shutdown()
        self._http.server_close()

    def _answer(self, request):
        path = request.path.lstrip("/")
        self.asked.append((path, request.headers.get("Range")))
        file = self.files.get(path)
        code = 404 if file is None else file.answers.pop(0) if file.answers else 200
        if code != 200:
            request.send_response(code)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        if file.moved_to:
            request.send_response(302)
            request.send_header("Location", file.moved_to)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        begin, total = self._begin(request, file), len(file.content)
        if begin > total:
            request.send_response(416)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if begin else 200)
        if begin:
            request.send_header("Content-Range", f"bytes {begin}-{total - 1}/{total}")
        if file.tag:
            request.send_header("ETag", file.tag)
        if file.chunked:
            request.send_header("Transfer-Encoding", "chunked")
        else:
            request.send_header("Content-Length", str(total - begin))
        request.end_headers()
        self._send(request, file, begin)

    def _begin(self, request, file):
        asked = request.headers.get("Range")
        known = request.headers.get("If-Range")
        if not asked or file.ranges == "none" or (file.ranges == "heeds" and known not in (None, file.tag)):
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def _send(self, request, file, begin):
        if file.chunked:
            request.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(file.content), file.content))
            return
        if file.drop_at is not None:
            request.wfile.write(file.content[begin : file.drop_at])
            file.drop_at = None
            request.close_connection = True
            return
        if file.stop_at is not None and begin < file.stop_at:
            request.wfile.write(file.content[begin : file.stop_at])
            request.wfile.flush()
            file.go_on.wait()
            begin = file.stop_at
        request.wfile.write(file.content[begin:])
