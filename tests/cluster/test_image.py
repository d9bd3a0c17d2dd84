"""One image is built from deploy/Dockerfile and run as a cluster would run it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from containers import Containers, why_missing
from manifests import REPOSITORY

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
TAG = "localhost/cisterna-eres:test"


@pytest.fixture(scope="module")
def engine():
    missing = why_missing()
    if missing:
        pytest.skip(missing)
    cache = Path(os.environ.get("CISTERNA_TEST_CACHE", Path.home() / ".cache/cisterna-test"))
    containers = Containers(cache)
    containers.make_base()
    containers.build(REPOSITORY, "eres", TAG)
    yield containers
    containers.close()


@pytest.fixture(scope="module")
def service(engine, tmp_path_factory):
    """The eres service: uid of the image, read-only root, no capability, no network but its own loopback."""
    store = tmp_path_factory.mktemp("store")
    os.chown(store, 10001, 10001)
    name = engine.podman(
        "run", "--detach", "--network=none", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL",
        "--security-opt=no-new-privileges", "--memory=2g", f"--volume={store}:/store",
        "--env=CISTERNA_STORE=file:///store", "--env=CISTERNA_TOKEN=only-for-this-test", TAG,
    ).stdout.strip()  # fmt: skip
    deadline = time.monotonic() + 60
    while engine.podman("healthcheck", "run", name, check=False).returncode:
        log = engine.podman("logs", name, check=False)
        assert time.monotonic() < deadline, f"the image never became healthy:\n{(log.stdout + log.stderr)[-3000:]}"
        time.sleep(0.5)
    return name


def test_the_service_answers_its_health_check(engine, service):
    assert engine.podman("healthcheck", "run", service).returncode == 0
    asked = engine.podman("exec", service, "python", "-m", "cisterna.rpc.health", "127.0.0.1:7104")
    assert asked.stdout.strip() == "SERVING"


def test_the_health_check_fails_where_nothing_serves(engine):
    """The control: the same image, asleep instead of serving."""
    name = engine.podman(
        "run", "--detach", "--network=none", "--read-only", "--entrypoint=sleep", TAG, "60"
    ).stdout.strip()
    assert engine.podman("healthcheck", "run", name, check=False).returncode != 0


def test_it_runs_as_nobody_in_particular_and_cannot_write(engine, service):
    assert engine.podman("exec", service, "id", "-u").stdout.strip() == "10001"
    status = engine.podman("exec", service, "cat", "/proc/1/status").stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(fields["CapEff"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    for place in ("/opt/cisterna/written", "/written", "/var/written"):
        assert engine.podman("exec", service, "touch", place, check=False).returncode != 0
    mounts = engine.podman("exec", service, "cat", "/proc/self/mounts").stdout
    assert [line.split()[3].split(",")[0] for line in mounts.splitlines() if line.split()[1] == "/"] == ["ro"]


def test_it_holds_its_own_extra_and_no_torch(engine, service):
    wanted = "import cisterna.eres, cc3d; from importlib.util import find_spec as f; print(f('torch'), f('networkx'))"
    assert engine.podman("exec", service, "python", "-c", wanted).stdout.split() == ["None", "None"]


def test_its_metrics_are_served(engine, service):
    read = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9464/metrics').read().decode())"
    assert "cisterna_queue_depth" in engine.podman("exec", service, "python", "-c", read).stdout


def test_told_to_stop_it_goes_in_time_and_in_order(engine, service):
    started = time.monotonic()
    engine.podman("stop", "--time", "30", service)
    state = engine.podman("inspect", "--format", "{{.State.ExitCode}}", service).stdout.strip()
    assert state == "0", "the service did not end by itself on SIGTERM"
    assert time.monotonic() - started < 25
