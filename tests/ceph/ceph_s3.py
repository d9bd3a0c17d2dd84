"""A real S3 for tests: one Ceph monitor, one OSD and one RADOS gateway on 127.0.0.1, as ordinary processes.

In a test:      with CephS3(folder) as s3: open_store(s3.url) under s3.environment()
From a shell:   eval "$(python tests/ceph/ceph_s3.py start FOLDER)"; …; python tests/ceph/ceph_s3.py stop FOLDER

Everything lives in FOLDER, which must be empty (a new cluster) or hold a cluster that this program made (started
again with its data). Ports are free ones and keys are random. Only the gateway can be killed on its own
(`kill_gateway`): the faults that clients see are the gateway's, and the data below it stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

PACKAGES = ("radosgw", "ceph-mon", "ceph-osd", "ceph-common")
PROGRAMS = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "ceph-authtool", "monmaptool")
REGION = "us-east-1"
STATE = "state.json"


class CephError(RuntimeError):
    """The cluster did not come up; the message ends with the last lines of the log that tells why."""


def why_missing() -> str | None:
    """None where Ceph can be started, else a sentence fit for pytest.skip."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if not absent:
        return None
    return (
        f"Ceph is not installed ({', '.join(absent)} missing): "
        f"apt-get install -y --no-install-recommends {' '.join(PACKAGES)}"
    )


class CephS3:
    """One cluster in one folder.

    `outlive` leaves the daemons running when the starting process ends (the command line does); otherwise the kernel
    ends them with it, so that a killed test leaves nothing behind.
    """

    def __init__(self, folder: str | os.PathLike[str], bucket: str = "cisterna", *, outlive: bool = False) -> None:
        self.folder = Path(folder).resolve()
        self.bucket = bucket
        self.outlive = outlive
        self.access_key = ""
        self.secret_key = ""
        self.port = 0
        self._ids: dict[str, int] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._fresh = True

    # -- what a client needs

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The bucket as a store URL; `environment()` must be set where it is opened."""
        return f"s3://{self.bucket}"

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",
        }

    def create_bucket(self, name: str) -> None:
        """Make a bucket; an existing one is left as it is. A test that must not see another's objects takes its own."""
        client = self._admin_client()
        if not client.bucket_exists(name):
            client.make_bucket(name)

    def limit_bytes(self, limit: int | None) -> None:
        """Make the store full: beyond `limit` bytes in one bucket a PUT answers 403 QuotaExceeded. None lifts it."""
        scope = ("--quota-scope=bucket", "--uid=cisterna")
        if limit is None:
            self._admin("quota", "disable", *scope)
            return
        self._admin("quota", "set", *scope, f"--max-size={limit}", "--max-objects=-1")
        self._admin("quota", "enable", *scope)

    # -- life

    def __enter__(self) -> CephS3:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start all three daemons and wait until the gateway answers and the bucket exists.

        Raises CephError with the log's end where a daemon does not come up, or where packages are missing.
        """
        missing = why_missing()
        if missing:
            raise CephError(missing)
        self._fresh = not (self.folder / STATE).exists()
        if not self._fresh:
            self._load()
            if self._alive("gateway"):
                raise CephError(f"{self.folder} holds a running cluster; stop it first")
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise CephError(f"{self.folder} is neither empty nor a cluster made here; give an empty folder")
        try:
            if self._fresh:
                self._lay_out()
            self._start_monitor()
            self._start_osd()
            self.start_gateway()
            if self._fresh:
                self._admin(
                    "user", "create", "--uid=cisterna", "--display-name=cisterna",
                    f"--access-key={self.access_key}", f"--secret-key={self.secret_key}",
                )  # fmt: skip
            self._until(self._bucket_made, 60, "gateway", "the gateway took no bucket")
        except BaseException:
            self.stop()
            raise

    def start_gateway(self) -> None:
        """Start the gateway (again) on its port and wait until it answers HTTP."""
        self._spawn("gateway", "radosgw", "-f", "-n", "client.rgw")
        self._until(self._answers, 90, "gateway", "the gateway does not answer")

    def kill_gateway(self) -> None:
        """kill -9 of the gateway alone; returns when it is gone. Requests in flight break, stored objects stay."""
        self._end("gateway", signal.SIGKILL)

    def stop(self) -> None:
        """Stop gateway, OSD and monitor, in this order; the data stays in the folder."""
        for name in ("gateway", "osd", "monitor"):
            self._end(name, signal.SIGTERM)

    # -- making the cluster

    def _lay_out(self) -> None:
        for name in ("monitor", "osd", "gateway", "run", "log"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.access_key, self.secret_key = secrets.token_hex(10).upper(), secrets.token_urlsafe(30)
        self.port, monitor_port = _free_ports(2)
        fsid = str(uuid.uuid4())
        self._conf.write_text(_configuration(self.folder, fsid, self.port, monitor_port))
        keyring = str(self.folder / "keyring")
        owners = {
            "mon.": ("mon", "allow *"),
            "client.admin": ("mon", "allow *", "osd", "allow *", "mgr", "allow *"),
            "client.rgw": ("mon", "allow rwx", "osd", "allow rwx"),
            "osd.0": ("mon", "allow profile osd", "osd", "allow *"),
        }
        _run("ceph-authtool", "--create-keyring", keyring)
        for owner, caps in owners.items():
            pairs = [part for i in range(0, len(caps), 2) for part in ("--cap", caps[i], caps[i + 1])]
            _run("ceph-authtool", keyring, "--gen-key", "-n", owner, *pairs)
        os.chmod(keyring, 0o600)
        monmap = str(self.folder / "monmap")
        _run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{monitor_port}]", monmap)
        _run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring, "-c", str(self._conf))
        self._save()

    def _start_monitor(self) -> None:
        self._spawn("monitor", "ceph-mon", "-f", "-i", "a")
        self._until(lambda: self._ceph("mon", "stat") is not None, 60, "monitor", "the monitor has no quorum")

    def _start_osd(self) -> None:
        if self._fresh:
            identity = str(uuid.uuid4())
            self._ceph_must("osd", "new", identity)
            _run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity, "-c", str(self._conf))
        self._spawn("osd", "ceph-osd", "-f", "-i", "0")
        self._until(self._osd_up, 90, "osd", "the OSD does not come up")

    def _osd_up(self) -> bool:
        answer = self._ceph("osd", "stat", "--format=json")
        return answer is not None and json.loads(answer)["num_up_osds"] == 1

    # -- processes

    def _spawn(self, name: str, *command: str) -> None:
        tied = () if self.outlive or shutil.which("setpriv") is None else ("setpriv", "--pdeathsig", "KILL", "--")
        with open(self.folder / "log" / f"{name}.out", "ab") as out:
            child = subprocess.Popen(
                [*tied, *command, "-c", str(self._conf)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._children[name] = child
        self._ids[name] = child.pid
        self._save()

    def _alive(self, name: str) -> bool:
        child = self._children.get(name)
        if child is not None:
            return child.poll() is None
        pid = self._ids.get(name)
        # A number from an old state file may belong to someone else by now: only a Ceph program of this folder counts.
        try:
            return pid is not None and str(self._conf).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False

    def _end(self, name: str, how: signal.Signals) -> None:
        for signum, patience_s in ((how, 15.0), (signal.SIGKILL, 15.0)):
            if not self._alive(name):
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._ids[name], signum)
            deadline = time.monotonic() + patience_s
            while self._alive(name) and time.monotonic() < deadline:
                time.sleep(0.05)
        self._children.pop(name, None)
        if self._ids.pop(name, None) is not None and self.folder.exists():
            self._save()

    def _until(self, ready: Callable[[], bool], patience_s: float, name: str, complaint: str) -> None:
        deadline = time.monotonic() + patience_s
        while not ready():
            if not self._alive(name):
                raise CephError(f"{complaint}: {name} ended.\n{self._log_end(name)}")
            if time.monotonic() > deadline:
                raise CephError(f"{complaint} after {patience_s:.0f} s.\n{self._log_end(name)}")
            time.sleep(0.2)

    def _log_end(self, name: str) -> str:
        log = self.folder / "log" / f"{name}.out"
        return log.read_text(errors="replace")[-1500:] if log.exists() else ""

    # -- talking to it

    @property
    def _conf(self) -> Path:
        return self.folder / "ceph.conf"

    def _ceph(self, *words: str) -> str | None:
        command = ["ceph", "-c", str(self._conf), "--connect-timeout=3", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout if done.returncode == 0 else None

    def _ceph_must(self, *words: str) -> None:
        if self._ceph(*words) is None:
            raise CephError(f"ceph {' '.join(words)} failed.\n{self._log_end('monitor')}")

    def _admin(self, *words: str) -> None:
        _run("radosgw-admin", "-c", str(self._conf), "-n", "client.rgw", *words)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.endpoint, timeout=2):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def _bucket_made(self) -> bool:
        import minio
        import urllib3

        try:
            self.create_bucket(self.bucket)
        except (minio.error.S3Error, urllib3.exceptions.HTTPError):
            return False
        return True

    def _admin_client(self):  # type: ignore[no-untyped-def]
        import minio
        import urllib3

        # The client's own retries would hide a dead gateway for half a minute.
        pool = urllib3.PoolManager(maxsize=4, retries=False, timeout=urllib3.Timeout(connect=3, read=60))
        return minio.Minio(
            f"127.0.0.1:{self.port}", self.access_key, self.secret_key, secure=False, region=REGION, http_client=pool
        )

    def _save(self) -> None:
        state = {
            "access_key": self.access_key,
            "secret_key": self.secret_key,
            "port": self.port,
            "bucket": self.bucket,
            "pids": self._ids,
        }
        path = self.folder / STATE
        path.touch(mode=0o600)
        path.write_text(json.dumps(state))

    def _load(self) -> None:
        state = json.loads((self.folder / STATE).read_text())
        self.access_key, self.secret_key = state["access_key"], state["secret_key"]
        self.port, self.bucket, self._ids = state["port"], state["bucket"], state["pids"]


def _configuration(folder: Path, fsid: str, port: int, monitor_port: int) -> str:
    first = 20000 + secrets.randbelow(9000)  # below the ephemeral range; the OSD takes the first free ones from here on
    options = {
        "global": {
            "fsid": fsid,
            "mon_host": f"v2:127.0.0.1:{monitor_port}",
            "public_addr": "127.0.0.1",
            "cluster_addr": "127.0.0.1",
            "ms_bind_msgr1": "false",
            "ms_bind_port_min": first,
            "ms_bind_port_max": first + 200,
            "auth_allow_insecure_global_id_reclaim": "false",
            # One copy on one disk: a test's data, not anybody's.
            "osd_pool_default_size": 1,
            "osd_pool_default_min_size": 1,
            "mon_allow_pool_size_one": "true",
            "osd_pool_default_pg_num": 8,
            "osd_pool_default_pg_autoscale_mode": "off",
            "mon_max_pg_per_osd": 2000,
            "osd_crush_chooseleaf_type": 0,
            # A killed gateway keeps its watch on the control objects until this runs out; making a bucket waits for it.
            "osd_client_watch_timeout": 4,
            # Build machines are often nearly full; the monitor would refuse to work below 5 % free.
            "mon_data_avail_crit": 1,
            "mon_data_avail_warn": 2,
            "run_dir": folder / "run",
            "admin_socket": _socket_name(folder),
            "pid_file": "",
            "log_file": folder / "log" / "$name.log",
            "mon_cluster_log_file": folder / "log" / "cluster.log",
            "keyring": folder / "keyring",
        },
        "mon": {"mon_data": folder / "monitor"},
        "osd": {
            "osd_data": folder / "osd",
            "osd_objectstore": "bluestore",
            "bluestore_block_size": 16 << 30,  # a sparse file
            "bluestore_fsck_on_mount": "false",
            "osd_memory_target": 900 << 20,
        },
        "client": {
            "rgw_data": folder / "gateway",
            "rgw_frontends": f"beast endpoint=127.0.0.1:{port}",
            "rgw_thread_pool_size": 32,
            "rgw_enable_ops_log": "false",
            "rgw_enable_usage_log": "false",
            "rgw_dynamic_resharding": "false",
            # A quota set by a test counts at once, not after ten minutes.
            "rgw_bucket_quota_ttl": 0,
            "rgw_user_quota_bucket_sync_interval": 1,
        },
    }
    return "".join(
        f"[{section}]\n" + "".join(f"{key} = {value}\n" for key, value in pairs.items())
        for section, pairs in options.items()
    )


def _socket_name(folder: Path) -> str:
    # A socket's path holds at most 107 characters, which pytest's temporary folders exceed.
    name = str(folder / "run" / "$name.asok")
    return name if len(name) < 90 else ""


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        bound = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [s.getsockname()[1] for s in bound]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise CephError(f"{command[0]} {' '.join(command[1:3])} failed: {done.stderr[-1500:]}")


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in ("start", "stop", "kill-gateway", "start-gateway"):
        print("usage: ceph_s3.py start|stop|kill-gateway|start-gateway FOLDER", file=sys.stderr)
        return 2
    verb, cluster = arguments[0], CephS3(arguments[1], outlive=True)
    try:
        if verb == "start":
            cluster.start()
            for name, value in {**cluster.environment(), "CISTERNA_STORE": cluster.url}.items():
                print(f"export {name}={shlex.quote(value)}")
            return 0
        if not (cluster.folder / STATE).exists():
            raise CephError(f"{cluster.folder} holds no cluster made by this program")
        cluster._load()
        {"stop": cluster.stop, "kill-gateway": cluster.kill_gateway, "start-gateway": cluster.start_gateway}[verb]()
    except CephError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
