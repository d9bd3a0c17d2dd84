"""The portal's HTTP server: GET and HEAD of three kinds of page, nothing else."""

import json
import re
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from cisterna.portal.pages import message_page, run_row, runs_page
from cisterna.store import ObjectMissing, ObjectStore, StoreError

# A run id is one plain path segment that begins with a letter or digit: no dots in front, no slashes, no escapes left.
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
SERVED = {"report.html": "text/html; charset=utf-8", "run.json": "application/json; charset=utf-8"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def parse_address(text: str) -> tuple[str, int]:
    """host:port → (host, port). Raises ValueError with the form to write."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"--listen {text!r} is no address: write HOST:PORT, for example 127.0.0.1:7180")
    return host.strip("[]"), int(port)


def public_url(url: str) -> str:
    """The store's URL without user, password and query: what may stand on a page."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


class Portal(ThreadingHTTPServer):
    """Serves one store. `daemon_threads`: a slow reader does not keep the process alive."""

    daemon_threads = True

    def __init__(self, store: ObjectStore, address: tuple[str, int]) -> None:
        super().__init__(address, PortalHandler)
        self.store = store

    def runs(self) -> tuple[list[Mapping[str, Any]], list[str]]:
        """run.json of every run, newest first, and the folders whose run.json cannot be read."""
        found, unreadable = [], []
        for name in self.store.folders("runs"):
            if not RUN_ID.fullmatch(name):
                continue
            try:
                run = json.loads(self.store.get(f"runs/{name}/run.json"))
            except ObjectMissing:
                continue
            except ValueError:
                unreadable.append(name)
                continue
            if not isinstance(run, dict):
                unreadable.append(name)
                continue
            found.append({**run, "run_id": name})
        return sorted(found, key=lambda run: str(run.get("created") or ""), reverse=True), unreadable


class PortalHandler(BaseHTTPRequestHandler):
    """One request. Paths are matched whole against what is served; everything else is 404."""

    server: Portal
    server_version = "cisterna-portal"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        status, kind, body = self._answer()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def _answer(self) -> tuple[int, str, bytes]:
        html = SERVED["report.html"]
        path = unquote(urlsplit(self.path).path)
        try:
            if path == "/":
                return 200, html, self._list()
            if path == "/healthz":
                self.server.store.folders("runs")
                return 200, "text/plain; charset=utf-8", b"ok\n"
            parts = path.split("/")
            if len(parts) == 4 and parts[:2] == ["", "runs"] and RUN_ID.fullmatch(parts[2]) and parts[3] in SERVED:
                return 200, SERVED[parts[3]], self.server.store.get("/".join(parts[1:]))
        except ObjectMissing:
            return (
                404,
                html,
                message_page("Not there", "This run has no such page (yet): a report is written when the run ends."),
            )
        except StoreError as error:
            return 503, html, message_page("The store does not answer", str(error))
        return (
            404,
            html,
            message_page("Not there", "The portal has a list of runs, and for each run report.html and run.json."),
        )

    def _list(self) -> bytes:
        store = self.server.store
        runs, unreadable = self.server.runs()
        rows = [run_row(run, store.exists(f"runs/{run['run_id']}/report.html")) for run in runs]
        return runs_page(rows, public_url(store.url), unreadable)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: what people look at is not recorded."""
