"""The files of docs/scaling/: real balancers in front of two daemons, and a valid Kubernetes list."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from openai_proxy.config.load import load
from tests.conftest import finish
from tests.front.configurations import connection
from tests.harness.daemon import REPOSITORY, Daemon, held_port, listens
from tests.harness.plays import DONE, FIN, HOLD, SSE_HEAD, chunk, completion, delta, plain
from tests.harness.redis_server import RedisServer, needs_redis
from tests.harness.upstream import Upstream
from tests.harness.waiting import PATIENCE, eventually
from tests.harness.wire import Wire

FILES = REPOSITORY / "docs" / "scaling"
HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
BALANCERS = [
    pytest.param("haproxy", marks=pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")),
    pytest.param("nginx", marks=pytest.mark.skipif(NGINX is None, reason="nginx is not installed")),
]

Pair = tuple[Daemon, Daemon]


@pytest.fixture(scope="module")
def pair(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two daemons that share their state."""
    redis = RedisServer(tmp_path_factory.mktemp("redis")).start()
    conf = {
        "connections": {"main": connection(upstream.url)},
        "groups": {"family": {"api_keys": ["sk-family"], "limits": {"requests_per_day": 1_000_000}}},
        "trusted_proxies": ["127.0.0.1/32"],
        "storage": redis.url,
    }
    daemons = [Daemon(tmp_path_factory.mktemp("daemon"), conf) for _ in range(2)]
    try:
        first, second = (daemon.start() for daemon in daemons)
        yield first, second
    finally:
        finish(daemons)
        redis.close()


@pytest.fixture(params=BALANCERS)
def balancer(request: pytest.FixtureRequest, pair: Pair, tmp_path: Path) -> Iterator[int]:
    """The port of a balancer that runs with the file from docs/scaling.md, with its three ports filled in."""
    with held_port() as port:
        ports = {"8000": str(port), "8001": str(pair[0].port), "8002": str(pair[1].port)}
        command = (_haproxy if request.param == "haproxy" else _nginx)(tmp_path, ports)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: _answers(port), "the balancer answers")
            yield port
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _haproxy(folder: Path, ports: dict[str, str]) -> list[str]:
    file = folder / "haproxy.cfg"
    file.write_text(_with_ports((FILES / "haproxy.cfg").read_text(), ports))
    assert HAPROXY is not None
    checked = subprocess.run([HAPROXY, "-c", "-f", str(file)], capture_output=True, text=True, timeout=PATIENCE)
    assert (checked.returncode, "WARNING" in checked.stderr) == (0, False), checked.stderr
    return [HAPROXY, "-db", "-f", str(file)]


def _nginx(folder: Path, ports: dict[str, str]) -> list[str]:
    user = "user root;" if os.getuid() == 0 else ""
    paths = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = _with_ports((FILES / "nginx.conf").read_text(), ports)
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off; {user} pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {paths}\n{text}}}\n"
    )
    assert NGINX is not None
    checked = subprocess.run([NGINX, "-t", "-q", "-c", str(file)], capture_output=True, text=True, timeout=PATIENCE)
    assert (checked.returncode, "warn" in checked.stderr) == (0, False), checked.stderr
    return [NGINX, "-c", str(file)]


def _with_ports(text: str, ports: dict[str, str]) -> str:
    return re.sub(r"\b(8000|8001|8002)\b", lambda found: ports[found[1]], text)


def _answers(port: int) -> bool:
    if not listens(port):
        return False
    with Wire(("127.0.0.1", port)) as wire:
        return wire.request("GET", "/health").answer(method="GET").status == 200


def ask(port: int, model: str, **more: Any) -> Wire:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}
    return Wire(("127.0.0.1", port)).request(
        "POST", "/v1/chat/completions", body=json.dumps(body).encode(), headers=[("Authorization", "Bearer sk-family")]
    )


@needs_redis
def test_requests_are_balanced_and_one_daemon_may_stop(pair: Pair, upstream: Upstream, balancer: int) -> None:
    play = upstream.play(plain(completion("fine")))

    def answered(number: int) -> set[int]:
        statuses = set()
        for _ in range(number):
            with ask(balancer, play.model) as wire:
                statuses.add(wire.answer().status)
        return statuses

    def served(daemon: Daemon) -> int:
        return daemon.stderr.count(f"{play.model} → main  200")

    eventually(lambda: answered(2) == {200} and all(map(served, pair)), "both daemons have served a request")
    stopped = threading.Thread(target=pair[0].stop)
    stopped.start()
    try:
        assert answered(30) == {200}, "a request failed while one daemon was stopping"
    finally:
        stopped.join(PATIENCE)
    assert answered(10) == {200}, "a request failed while one daemon was down"
    pair[0].start()


@needs_redis
def test_a_killed_daemon_only_fails_its_own_requests(pair: Pair, upstream: Upstream, balancer: int) -> None:
    clients, each = 4, 25
    play = upstream.play(plain(completion("fine")))
    begun = threading.Semaphore(0)

    def client(_: int) -> list[int]:
        statuses = []
        for _ in range(each):
            with ask(balancer, play.model) as wire:
                statuses.append(wire.answer().status)
            begun.release()
        return statuses

    with ThreadPoolExecutor(clients) as threads:
        asking = threads.map(client, range(clients))
        for _ in range(clients * 2):
            assert begun.acquire(timeout=PATIENCE)
        pair[1].signal(signal.SIGKILL)
        statuses = [status for given in asking for status in given]
    pair[1].exit_code()
    pair[1].start()
    assert len(statuses) == clients * each
    assert len(statuses) - statuses.count(200) <= clients, statuses


@needs_redis
def test_streams_are_not_buffered_and_disconnects_are_noticed(pair: Pair, upstream: Upstream, balancer: int) -> None:
    play = upstream.play(SSE_HEAD + chunk(delta("Once upon a time")), HOLD)
    with ask(balancer, play.model, stream=True) as wire:
        assert wire.read_head().status == 200
        wire.read_until(b"Once upon a time")
        wire.close()
        assert play.requests[0].hung_up.wait(PATIENCE), "the connection to the provider stayed open"
    whole = upstream.play(SSE_HEAD + chunk(delta("fine") + DONE) + b"0\r\n\r\n", FIN)
    with ask(balancer, whole.model, stream=True) as wire:
        assert b"[DONE]" in wire.answer().body


def documents() -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all((FILES / "kubernetes.yaml").read_text()))


def test_references_in_the_kubernetes_list_resolve() -> None:
    by_name = {(one["kind"], one["metadata"]["name"]): one for one in documents()}
    stateful = by_name["StatefulSet", "openai-proxy"]
    pod = stateful["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    service = by_name["Service", stateful["spec"]["serviceName"]]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert stateful["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    assert ("ConfigMap", pod["spec"]["volumes"][0]["configMap"]["name"]) in by_name
    names = {port["name"] for port in container["ports"]}
    assert {container["readinessProbe"]["httpGet"]["port"], service["spec"]["ports"][0]["targetPort"]} <= names
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    claimed = {claim["metadata"]["name"] for claim in stateful["spec"]["volumeClaimTemplates"]}
    assert mounted == claimed | {volume["name"] for volume in pod["spec"]["volumes"]}
    for one in documents():
        assert {"apiVersion", "kind", "metadata"} <= one.keys()


def test_the_configuration_in_it_is_valid(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    config = next(one for one in documents() if one["kind"] == "ConfigMap")
    (tmp_path / "conf" / "proxy.yaml").write_text(config["data"]["proxy.yaml"])
    environ = {"OPENROUTER_API_KEY": "sk-or-1234567890", "FAMILY_PROXY_KEY": "sk-family-1234567890"}
    snapshot = load(tmp_path / "conf", None, environ, {})
    assert [str(problem) for problem in snapshot.problems] == []
    store = next(one for one in documents() if one["kind"] == "Service" and one["metadata"]["name"].endswith("store"))
    port = store["spec"]["ports"][0]["port"]
    assert snapshot.proxy.shared_storage == f"redis://{store['metadata']['name']}:{port}/0"


def instance(tmp_path: Path, change: Callable[[str], str] = str) -> Path:
    """The template unit as `make install` creates it."""
    made = subprocess.run(
        ["sed", "-f", "systemd/instance.sed", "systemd/openai-proxy.service"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    path = tmp_path / "openai-proxy@8001.service"
    path.write_text(change(made.replace("/usr/local/lib/openai-proxy/bin/python", "/bin/true")))
    return path


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_template(tmp_path: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", str(instance(tmp_path))], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_each_instance_has_its_own_port_and_directories(tmp_path: Path) -> None:
    text = instance(tmp_path).read_text()
    assert "--host 127.0.0.1 --port %i --config-dir" in text
    for kind in ("State", "Logs", "Cache"):
        assert f"\n{kind}Directory=openai-proxy-%i\n" in text
    assert "\nConfigurationDirectory=openai-proxy\n" in text
    assert re.findall(r"^[^#\n]*%S/openai-proxy(?!-%i)", text, re.MULTILINE) == []
