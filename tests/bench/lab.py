"""Processes, the resources that they use, and their files."""

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import orjson

from tests.harness.daemon import free_port

ROOT = Path(__file__).resolve().parents[2]
TICK = os.sysconf("SC_CLK_TCK")
START_TIMEOUT = 60.0


def wait_for_port(port: int, process: subprocess.Popen[bytes], timeout: float = START_TIMEOUT) -> float:
    """Seconds until something accepts on `port`. Raises RuntimeError if `process` ends first or time runs out."""
    began = time.monotonic()
    while time.monotonic() < began + timeout:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode} before it listened")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return time.monotonic() - began
        time.sleep(0.002)
    raise RuntimeError(f"{process.args!r} did not listen on {port} within {timeout} s")


def place(pid: int, cores: set[int]) -> None:
    """Let every thread of a process run on `cores` only."""
    with contextlib.suppress(FileNotFoundError):  # the process has ended, as nginx's workers do at a reload
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):  # it has ended
                os.sched_setaffinity(int(task.name), cores)


class Usage:
    """What one process and its children use, from /proc."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def pids(self) -> list[int]:
        found = [self.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                found.extend(int(child) for child in children)
        return found

    def cpu(self) -> float:
        """Seconds of CPU so far, user and system."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / TICK

    def fds(self) -> int:
        """Open descriptors of the process itself."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def rss(self) -> int:
        """Resident bytes; shared ones count once (PSS), so that nginx's two processes are not counted twice."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Rss:" if len(self.pids()) == 1 else "Pss:"):
                        total += int(line.split()[1]) * 1024
        return total


class Lab:
    """The bench's environment: two cores, one upstream, a folder that is removed at the end."""

    def __init__(self, *, quick: bool) -> None:
        self.quick = quick
        self.long = False
        self.folder = Path(tempfile.mkdtemp(prefix="openai-proxy-bench-"))
        # Two cores for everything, and the kernel places processes, as on a small server.
        cores = sorted(os.sched_getaffinity(0))
        self.cores = (cores[0], cores[-1])
        os.sched_setaffinity(0, self.cores)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.open_files = hard if hard != resource.RLIM_INFINITY else max(soft, 65536)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.lost_lines = 0  # lines missing in our chat log, over all cases: a single one fails the bench
        self.upstream_port = free_port()
        self.upstream = self.start([sys.executable, "-m", "tests.bench.upstream", str(self.upstream_port)])
        wait_for_port(self.upstream_port, self.upstream)

    def start(
        self, command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> subprocess.Popen[bytes]:
        """Start `command`; its output goes to a file in the lab's folder."""
        log = self.folder / f"{len(self.processes)}-{Path(command[0]).name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env=dict(env or os.environ),
            )
        self.processes.append(process)
        return process

    @contextlib.contextmanager
    def placed(self, usage: Usage, load: int, subject: int) -> Iterator[None]:
        """In the meantime use core `load` for the load and the provider, `subject` for the processes of `usage`."""
        kept = dict.fromkeys((os.getpid(), self.upstream.pid), load) | dict.fromkeys(usage.pids(), subject)
        for pid, core in kept.items():
            place(pid, {self.cores[core]})
        try:
            yield
        finally:
            for pid in kept:
                place(pid, set(self.cores))

    def stop(self, process: subprocess.Popen[bytes], timeout: float = 20) -> None:
        """End `process`: with SIGTERM first, then by force."""
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def tally(self) -> dict[str, int]:
        """What the upstream has seen."""
        with socket.create_connection(("127.0.0.1", self.upstream_port), timeout=5) as sock:
            sock.sendall(b"GET /bench HTTP/1.1\r\nHost: bench\r\n\r\n")
            data = b""
            while b"}" not in data:
                data += sock.recv(4096)
        found: dict[str, int] = orjson.loads(data.partition(b"\r\n\r\n")[2])
        return found

    def close(self) -> None:
        for process in reversed(self.processes):
            self.stop(process, 5)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def laboratory(*, quick: bool) -> Iterator[Lab]:
    lab = Lab(quick=quick)
    try:
        yield lab
    finally:
        lab.close()
