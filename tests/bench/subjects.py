"""What is measured. Each subject starts its processes and stops them again."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.bench.lab import ROOT, Lab, Usage, wait_for_port
from tests.bench.load import lines
from tests.harness.daemon import free_port

NGINX = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)

NGINX_CONF = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log crit; {user}
worker_rlimit_nofile {files};
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 75s;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  upstream provider {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=8192;
    location / {{
      proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 300s; client_max_body_size 100m;
    }}
  }}
}}
"""

OUR_CONF = """
host: 127.0.0.1
port: {port}
connections:
  provider: {{api_type: openai, api_base: "http://127.0.0.1:{upstream}", api_key: sk-bench-upstream-0000}}
  spare: {{api_type: openai, api_base: "http://127.0.0.1:{upstream}", api_key: sk-bench-spare-000000}}
default_connection: spare
routing:
  "gpt*": "spare.*"
  "claude*": "spare.*"
  "fast": ["spare.fast", "provider.fast"]
  "bench*": "provider.*"
  "*": "spare.*"
groups:
  family: {{api_keys: ["{key}", "sk-bench-other-00000000"]}}
limits: {{max_concurrent_requests: 20000}}
"""
KEY = "sk-bench-client-0123456789"


class Subject:
    """One way from a client to the provider."""

    name = ""
    headers: dict[str, str]

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.headers = {"Authorization": f"Bearer {KEY}"}
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.ready_after = float("nan")
        self.answered = 0  # requests that were answered in full, as the cases counted them
        self.lost_lines: int | None = None

    @classmethod
    def missing(cls) -> str | None:
        """Why this subject cannot be measured here, or None."""
        return None

    def start(self) -> None:
        self.port = free_port()
        began = time.monotonic()
        self.process = self.launch()
        wait_for_port(self.port, self.process)
        self.ready_after = time.monotonic() - began

    def launch(self) -> subprocess.Popen[bytes]:
        raise AssertionError("each subject overrides this method")

    def stop(self) -> None:
        if self.process is not None:
            self.lab.stop(self.process)
            self.process = None

    @property
    def usage(self) -> Usage:
        assert self.process is not None
        return Usage(self.process.pid)

    def python(self, *arguments: str) -> subprocess.Popen[bytes]:
        return self.lab.start([sys.executable, *arguments])


class Direct(Subject):
    """No proxy: an upstream of its own."""

    name = "direct"

    def launch(self) -> subprocess.Popen[bytes]:
        return self.python("-m", "tests.bench.upstream", str(self.port))


class Nginx(Subject):
    """The limit: one worker, keep-alive to the upstream, no buffering, no access log."""

    name = "nginx"

    @classmethod
    def missing(cls) -> str | None:
        return None if NGINX else "nginx is not installed (Debian: apt install nginx-light)"

    def launch(self) -> subprocess.Popen[bytes]:
        assert NGINX is not None
        folder = self.lab.folder / f"nginx-{self.port}"
        folder.mkdir()
        conf = folder / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        values = {"folder": folder, "port": self.port, "upstream": self.lab.upstream_port}
        conf.write_text(NGINX_CONF.format(**values, files=self.lab.open_files, user=user))
        return self.lab.start([NGINX, "-p", str(folder), "-c", str(conf)])


class Plain(Subject):
    """The naive way: aiohttp to aiohttp."""

    name = "aiohttp"

    def launch(self) -> subprocess.Popen[bytes]:
        return self.python("-m", "tests.bench.plain_proxy", str(self.port), str(self.lab.upstream_port))


class Ours(Subject):
    """This proxy, with client keys, routing rules and the chat log on."""

    name = "ours"
    flags: tuple[str, ...] = ()
    environment: Mapping[str, str] = {}
    checkout = ROOT
    interpreter = sys.executable

    def launch(self) -> subprocess.Popen[bytes]:
        self.root = self.lab.folder / f"{self.name}-{self.port}"
        for folder in ("conf", "logs", "state"):
            (self.root / folder).mkdir(parents=True)
        values = {"port": self.port, "upstream": self.lab.upstream_port, "key": KEY}
        self.configure(OUR_CONF.format(**values))
        command = [self.interpreter, "-m", "openai_proxy", "serve", "--config-dir", str(self.root / "conf")]
        command += ["--env-file", str(self.root / ".env"), "--logs-dir", str(self.root / "logs")]
        command += [
            "--state-dir",
            str(self.root / "state"),
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            *self.flags,
        ]
        known = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "PYTHONPATH")
        env = {name: os.environ[name] for name in known if name in os.environ}
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(f"{self.root}/notify")
        self.manager.settimeout(30)
        env |= {"NOTIFY_SOCKET": f"{self.root}/notify", **self.environment}
        return self.lab.start(command, env, self.checkout)

    def configure(self, text: str) -> None:
        (self.root / "conf" / "proxy.yaml").write_text(text)

    def start(self) -> None:
        self.port = free_port()
        self.answered = 0
        self.lost_lines = None
        began = time.monotonic()
        self.process = self.launch()
        with contextlib.suppress(TimeoutError):
            while b"READY=1" not in self.manager.recv(4096):
                continue
            self.ready_after = time.monotonic() - began
        wait_for_port(self.port, self.process)

    def stop(self) -> None:
        """Stop, and count the chat log's lines: each answered request must have its request and response there."""
        if self.process is None:
            return
        self.lab.stop(self.process, 60)
        self.process = None
        self.manager.close()
        counted = lines(self.root / "logs")
        self.lost_lines = max(0, self.answered - min(counted["request"], counted["response"]))
        self.lab.lost_lines += self.lost_lines
        shutil.rmtree(self.root, ignore_errors=True)


class Interpreted(Ours):
    """This proxy with its fast path, but without the compiled library."""

    name = "interpreted"
    environment: Mapping[str, str] = {"OPENAI_PROXY_INTERPRETED": "1"}


class Reference(Ours):
    """This proxy without its fast path: every request is handled by aiohttp, interpreted."""

    name = "reference"
    flags = ("--no-splice",)
    environment = Interpreted.environment


class Before(Ours):
    """Another checkout of this proxy, in BENCH_BEFORE, with its own `.venv`: shows what a change costs."""

    name = "before"
    checkout = Path(os.environ.get("BENCH_BEFORE", ""))
    interpreter = str(checkout / ".venv/bin/python")

    @classmethod
    def missing(cls) -> str | None:
        return None if Path(cls.interpreter).is_file() else "BENCH_BEFORE names no checkout with a .venv"


SUBJECTS: tuple[type[Subject], ...] = (Direct, Nginx, Plain, Ours, Interpreted, Reference, Before)
DEFAULT = ("direct", "nginx", "aiohttp", "ours")
