"""The portal over real HTTP: what it shows, what it escapes, and what it never gives out."""

import http.client
import os
import re
import signal
import subprocess
import sys
import threading

import pytest
from cisterna.portal.pages import progress
from cisterna.portal.server import Portal, parse_address, public_url
from cisterna.store.objects import connect

REPORT = b"<!doctype html><title>the report</title>"


def put_run(store, run_id, report=True, **more):
    document = {
        "run_id": run_id,
        "recipe": "fibsem",
        "state": "SUCCEEDED",
        "acquisition": "cell",
        "created": "2026-11-20T09:00:00Z",
        **more,
    }
    store.put_json(f"runs/{run_id}/run.json", document)
    if report:
        store.put(f"runs/{run_id}/report.html", REPORT)


@pytest.fixture
def store(tmp_path):
    (tmp_path / "secret.txt").write_text("outside the store")
    return connect((tmp_path / "store").as_uri())


@pytest.fixture
def portal(store):
    server = Portal(store, ("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def ask(portal, path, method="GET"):
    connection = http.client.HTTPConnection(*portal.server_address[:2], timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_runs_are_listed_newest_first_with_state_and_progress(portal, store):
    stages = {"denoise": {"blocks": 30, "done": 30}, "segment-er": {"blocks": 10, "done": 0}}
    put_run(store, "fibsem-old", created="2026-11-01T00:00:00Z")
    put_run(store, "fibsem-new", report=False, state="RUNNING", stages=stages, created="2026-11-02T00:00:00Z")
    status, headers, body = ask(portal, "/")
    text = body.decode()
    assert status == 200
    assert headers["Content-Type"].startswith("text/html")
    assert text.index("fibsem-new") < text.index("fibsem-old")
    assert "30 / 40 (75 %)" in text
    assert 'href="/runs/fibsem-old/report.html"' in text
    assert 'href="/runs/fibsem-new/report.html"' not in text
    assert "RUNNING" in text


def test_an_empty_store_says_what_to_do(portal):
    status, _, body = ask(portal, "/")
    assert status == 200
    assert b"cisterna submit" in body


def test_report_and_run_document_are_served_as_they_are(portal, store):
    put_run(store, "fibsem-1")
    status, headers, body = ask(portal, "/runs/fibsem-1/report.html")
    assert (status, body) == (200, REPORT)
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    status, headers, body = ask(portal, "/runs/fibsem-1/run.json?x=1")
    assert (status, body) == (200, store.get("runs/fibsem-1/run.json"))
    assert headers["Content-Type"].startswith("application/json")


def test_head_gives_the_length_alone(portal, store):
    put_run(store, "fibsem-1")
    status, headers, body = ask(portal, "/runs/fibsem-1/report.html", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(REPORT)), b"")


@pytest.mark.parametrize(
    "path",
    [
        "/runs/fibsem-1/recipe.yaml",
        "/runs/fibsem-1/tables/sites.parquet",
        "/runs/fibsem-1/",
        "/runs/fibsem-1",
        "/runs//report.html",
        "/runs/../report.html",
        "/runs/%2e%2e/report.html",
        "/runs/..%2f..%2fsecret.txt/report.html",
        "/runs/fibsem-1/../../../secret.txt",
        "/runs/fibsem-1/%2e%2e%2f%2e%2e%2f%2e%2e%2fsecret.txt",
        "/runs/fibsem-1%2f..%2ffibsem-1/report.html",
        "/runs/fibsem-1/report.html/..",
        "/runs/fibsem-1\\..\\x/report.html",
        "/runs/fibsem-1%00/report.html",
        "/runs/.hidden/run.json",
        "/cisterna-store.json",
        "/runs/" + "a" * 5000 + "/run.json",
    ],
)
def test_nothing_else_is_given_out(portal, store, path):
    put_run(store, "fibsem-1")
    store.put("runs/fibsem-1/recipe.yaml", b"recipe: fibsem")
    store.put("runs/report.html", b"not yours")
    store.put("runs/.hidden/run.json", b"{}")
    store.put("cisterna-store.json", b"{}")
    status, _, body = ask(portal, path)
    assert status == 404
    for secret in (b"outside the store", b"recipe: fibsem", b"not yours", REPORT):
        assert secret not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_the_portal_only_reads(portal, store, method):
    put_run(store, "fibsem-1")
    assert ask(portal, "/runs/fibsem-1/report.html", method)[0] == 501
    assert store.get("runs/fibsem-1/report.html") == REPORT


def test_everything_from_the_store_is_escaped(portal, store):
    evil = "<img src=x onerror=alert(1)>\"'"
    put_run(store, "fibsem-1", recipe=evil, state=evil, acquisition=evil, created=evil)
    text = ask(portal, "/")[2].decode()
    assert "<img" not in text
    assert text.count("&lt;img") == 4


def test_a_name_that_is_no_run_id_is_not_listed(portal, store):
    put_run(store, "good")
    put_run(store, "<b>strange")
    text = ask(portal, "/")[2].decode()
    assert "good" in text
    assert "strange" not in text


@pytest.mark.parametrize("data", [b"{broken", b"[1]", b'"text"', b"\xff\xfe"])
def test_a_broken_run_does_not_hide_the_others(portal, store, data):
    put_run(store, "fine")
    store.put("runs/broken/run.json", data)
    status, _, body = ask(portal, "/")
    assert status == 200
    assert b">fine<" in body
    assert b"cannot be read: broken" in body


@pytest.mark.parametrize(
    "stages", [None, [], "x", {"a": 1}, {"a": {"blocks": "9", "done": None}}, {"a": {"blocks": -3, "done": True}}]
)
def test_progress_of_strange_stages_is_zero(stages):
    assert progress({"stages": stages}) == (0, 0)


def test_progress_never_exceeds_the_whole():
    assert progress({"stages": {"a": {"blocks": 4, "done": 9}}}) == (4, 4)


def test_a_store_that_does_not_answer_is_503(portal, store):
    from cisterna.store import StoreUnavailable

    def gone(prefix):
        raise StoreUnavailable("store s3://bucket does not answer")

    store.folders = gone
    status, _, body = ask(portal, "/")
    assert status == 503
    assert b"does not answer" in body
    assert ask(portal, "/healthz")[0] == 503


def test_credentials_in_a_url_are_not_shown():
    assert public_url("s3://key:secret@bucket/prefix?token=1") == "s3://bucket/prefix"
    assert public_url("file:///data/store") == "file:///data/store"


@pytest.mark.parametrize("text", ["7180", ":7180", "host:", "host:99999", "host:http"])
def test_addresses_that_are_none(text):
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_address(text)


def test_addresses():
    assert parse_address("127.0.0.1:0") == ("127.0.0.1", 0)
    assert parse_address("[::1]:80") == ("::1", 80)


def test_the_process_starts_serves_and_stops(store, tmp_path):
    put_run(store, "fibsem-1")
    command = [sys.executable, "-m", "cisterna.portal", "--store", store.url, "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        line = process.stdout.readline()
        port = int(re.search(r":(\d+)/$", line.strip()).group(1))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"ok\n"
        connection.close()
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_bad_arguments_end_with_a_sentence(tmp_path):
    for arguments, code, word in (
        (["--store", "ftp://x", "--listen", "127.0.0.1:0"], 5, "not understood"),
        (["--store", (tmp_path / "s").as_uri(), "--listen", "nowhere"], 2, "HOST:PORT"),
        (["--listen", "127.0.0.1:0"], 2, "--store"),
    ):
        environment = {k: v for k, v in os.environ.items() if k != "CISTERNA_STORE"}
        done = subprocess.run(
            [sys.executable, "-m", "cisterna.portal", *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            env=environment,
        )
        assert done.returncode == code
        assert word in done.stderr
        assert "Traceback" not in done.stderr
