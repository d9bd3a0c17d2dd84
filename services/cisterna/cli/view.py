"""``cisterna view FOLDER``: serves an export to viewers in a browser, on this machine only."""

from __future__ import annotations

import argparse
import json
import re
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cisterna.cli.home import UsageError

PORT = 9000
PLACEHOLDER = "http://BASE_URL"
REWRITTEN = ("neuroglancer.json", "sites.html")
PIECE_BYTES = 1 << 20


def add_arguments(commands: Any, argv: list[str]) -> None:
    p: argparse.ArgumentParser = commands.add_parser("view", help="serve an export to Neuroglancer, on this machine")
    p.add_argument("folder", type=Path, metavar="FOLDER", help="what `cisterna export` wrote")
    p.add_argument("--port", type=int, default=PORT, help=f"port on 127.0.0.1 (default {PORT}; 0 takes a free one)")
    p.set_defaults(run=lambda a: view(a.folder, a.port))


def view(folder: Path, port: int = PORT) -> int:
    """Serves until Ctrl-C. Says the addresses of the list, of the sites, and of the viewer with this export open."""
    with server_of(folder, port) as server:
        base = address(server)
        print(f"what is in the folder: {base}/index.html")
        if (folder / "sites.html").exists():
            print(f"sites, each with a link that opens it: {base}/sites.html")
        if (folder / "neuroglancer.json").exists():
            print(f"viewer: {_viewer(folder, base)}")
        print("Ctrl-C stops", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


def server_of(folder: Path, port: int) -> ThreadingHTTPServer:
    """The server, not yet serving. Raises UsageError for a folder that is no export, or a port that is taken."""
    if not (folder / "manifest.json").is_file():
        raise UsageError(f"{folder} holds no manifest.json: give a folder that `cisterna export` finished")
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), partial(ExportHandler, directory=str(folder)))
    except OSError as error:
        raise UsageError(f"port {port} cannot be used ({error.strerror}): choose another with --port") from error


def address(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def rewritten(text: str, base: str) -> str:
    """The text with this server's address where the export left a placeholder, plain or percent-encoded."""
    return text.replace(PLACEHOLDER, base).replace(quote(PLACEHOLDER, safe=""), quote(base, safe=""))


def _viewer(folder: Path, base: str) -> str:
    from cisterna.report.neuroglancer import viewer_link

    return viewer_link(json.loads(rewritten((folder / "neuroglancer.json").read_text(encoding="utf-8"), base)))


class ExportHandler(SimpleHTTPRequestHandler):
    """Files below one folder, whole or a byte range, to pages of any origin; GET and HEAD only, no listings."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: a viewer asks for thousands of pieces."""

    def end_headers(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Headers", "Range")
        self.send_header("Access-Control-Allow-Private-Network", "true")
        self.send_header("Access-Control-Expose-Headers", "Accept-Ranges, Content-Length, Content-Range")
        super().end_headers()

    def do_OPTIONS(self) -> None:
        self._answer(204, 0)

    def do_HEAD(self) -> None:
        self._send(body=False)

    def do_GET(self) -> None:
        self._send(body=True)

    def _send(self, body: bool) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            path = path / "index.html"
        if not path.is_file() or not path.resolve().is_relative_to(Path(self.directory).resolve()):
            self._answer(404, 0)
            return
        if path.name in REWRITTEN and path.parent == Path(self.directory):
            host = self.headers.get("Host", "")  # a forwarded port has another number than ours
            base = f"http://{host}" if re.fullmatch(r"[\w.:\[\]-]+", host) else f"http://127.0.0.1:{self._port}"
            data = rewritten(path.read_text(encoding="utf-8"), base).encode("utf-8")
            self._answer(200, len(data), self.guess_type(str(path)))
            if body:
                self.wfile.write(data)
            return
        size = path.stat().st_size
        span = byte_range(self.headers.get("Range"), size)
        if span is None:
            self._answer(416, 0, content_range=f"bytes */{size}")
            return
        start, end = span
        partial_answer = self.headers.get("Range") is not None
        content_range = f"bytes {start}-{end - 1}/{size}" if partial_answer else ""
        self._answer(206 if partial_answer else 200, end - start, self.guess_type(str(path)), content_range)
        if body:
            with path.open("rb") as file:
                file.seek(start)
                left = end - start
                while left and (piece := file.read(min(left, PIECE_BYTES))):
                    self.wfile.write(piece)
                    left -= len(piece)

    @property
    def _port(self) -> int:
        return int(self.connection.getsockname()[1])

    def _answer(self, status: int, length: int, kind: str = "", content_range: str = "") -> None:
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        if content_range:
            self.send_header("Content-Range", content_range)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(length))
        self.end_headers()


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(start, end) that a Range header asks of a file; the whole file without one; None where it cannot be met."""
    if header is None:
        return 0, size
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", header.strip())
    if not found or found.group(0) == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        return (max(0, size - int(last)), size) if int(last) and size else None
    start, end = int(first), min(int(last) + 1, size) if last else size
    return (start, end) if start < end else None
