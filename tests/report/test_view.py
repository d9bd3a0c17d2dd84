"""`cisterna view`: what a viewer asks of a server, and nothing outside the folder."""

import json
import threading
import urllib.error
import urllib.request
from urllib.parse import quote, unquote

import pytest
from cisterna.cli.home import UsageError
from cisterna.cli.view import address, byte_range, server_of
from cisterna.report.neuroglancer import BASE_URL


@pytest.fixture
def served(tmp_path):
    folder = tmp_path / "out"
    (folder / "arrays").mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (folder / "index.html").write_text("<h1>list</h1>")
    (folder / "arrays" / "shard").write_bytes(bytes(range(100)))
    (folder / "neuroglancer.json").write_text(json.dumps({"source": f"zarr3://{BASE_URL}/arrays/raw/"}))
    (folder / "sites.html").write_text(f'<a href="https://v/#!{quote(BASE_URL, safe="")}">1</a>')
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret.txt")
    server = server_of(folder, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield address(server)
    server.shutdown()
    server.server_close()


def ask(url, method="GET", **headers):
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_whole_files_ranges_and_headers(served):
    status, headers, body = ask(f"{served}/arrays/shard")
    assert (status, body) == (200, bytes(range(100)))
    assert headers["Access-Control-Allow-Origin"] == "*"
    status, headers, body = ask(f"{served}/arrays/shard", Range="bytes=10-19")
    assert (status, body, headers["Content-Range"]) == (206, bytes(range(10, 20)), "bytes 10-19/100")
    assert ask(f"{served}/arrays/shard", Range="bytes=-5")[2] == bytes(range(95, 100))
    assert ask(f"{served}/arrays/shard", Range="bytes=90-500")[2] == bytes(range(90, 100))
    status, headers, body = ask(f"{served}/arrays/shard", Range="bytes=100-")
    assert (status, headers["Content-Range"]) == (416, "bytes */100")
    status, headers, body = ask(f"{served}/arrays/shard", method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "100", b"")
    assert ask(f"{served}/arrays/shard", method="OPTIONS")[0] == 204
    assert ask(f"{served}/arrays/shard", method="PUT")[0] == 501
    assert ask(f"{served}/")[2] == b"<h1>list</h1>"


def test_states_and_links_get_the_address_of_the_server(served):
    assert json.loads(ask(f"{served}/neuroglancer.json")[2]) == {"source": f"zarr3://{served}/arrays/raw/"}
    assert unquote(ask(f"{served}/sites.html")[2].decode()) == f'<a href="https://v/#!{served}">1</a>'


def test_a_host_that_is_markup_is_not_repeated(served):
    assert b"<script>" not in ask(f"{served}/sites.html", Host="x<script>")[2]
    assert "http://localhost:9" in unquote(ask(f"{served}/sites.html", Host="localhost:9")[2].decode())


@pytest.mark.parametrize("path", ["/../secret.txt", "/%2e%2e/secret.txt", "/link", "/arrays", "/nothing"])
def test_nothing_outside_and_no_listing(served, path):
    status, _, body = ask(served + path)
    assert status == 404
    assert b"secret" not in body


def test_what_is_no_export_is_not_served(tmp_path):
    with pytest.raises(UsageError, match=r"no manifest\.json"):
        server_of(tmp_path, 0)


def test_a_port_that_is_taken_is_named(served, tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match="choose another with --port"):
        server_of(tmp_path, int(served.rsplit(":", 1)[1]))


@pytest.mark.parametrize(
    ("header", "span"),
    [(None, (0, 9)), ("bytes=0-0", (0, 1)), ("bytes=3-", (3, 9)), ("bytes=-99", (0, 9)), ("bytes=5-4", None),
     ("bytes=-", None), ("bytes=-0", None), ("items=0-1", None), ("bytes=0-1,3-4", None)],
)  # fmt: skip
def test_ranges(header, span):
    assert byte_range(header, 9) == span
