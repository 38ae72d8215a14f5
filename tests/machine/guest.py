"""Run by the guest of `make test-systemd` after it has booted: tests the service as systemd runs it.

Standard library only, run by the guest's own Python as root, with the package installed before the boot. Prints a line
for each check; the last line is the result.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONF = Path("/etc/openai-proxy")
UNIT = "openai-proxy.service"
TRIALS: list[Callable[[], None]] = []
PATIENCE = 300  # seconds: the machine may be busy


def trial(function: Callable[[], None]) -> Callable[[], None]:
    """Mark a function as a check; checks run in the order of this file."""
    TRIALS.append(function)
    return function


def run(*words: str | Path, check: bool = True) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(map(str, words))}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def shown(name: str, unit: str = UNIT) -> str:
    return run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()


def until(what: str, seen: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not seen():
        if time.monotonic() > end:
            raise AssertionError(f"not within {PATIENCE} s: {what}")
        time.sleep(0.2)


def ask(model: str, text: str = "hello", *, port: int = 8000, stream: bool = False) -> str:
    body = json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]}).encode()
    address = f"http://127.0.0.1:{port}/v1/chat/completions"
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return str(answer.read().decode())


def answers(model: str = "echo", port: int = 8000) -> bool:
    try:
        return "hello" in ask(model, port=port)
    except OSError:
        return False


def journal() -> list[dict[str, str]]:
    text = run("journalctl", "-u", UNIT, "-o", "json", "--no-pager").stdout
    return [json.loads(line) for line in text.splitlines()]


@trial
def boots_with_the_machine() -> None:
    until("the service is active", lambda: shown("ActiveState") == "active")
    assert shown("Type") == "notify"
    assert "serving" in shown("StatusText") or "model" in shown("StatusText"), shown("StatusText")
    assert shown("User") == "openai-proxy"
    assert int(shown("WatchdogUSec").removesuffix("s")) == 30
    assert answers()
    print("   systemctl status:", shown("StatusText"))


@trial
def is_sandboxed_as_the_unit_says() -> None:
    told = run("systemd-analyze", "security", UNIT, "--no-pager").stdout.splitlines()[-1]
    print("  ", told)
    assert float(told.split(": ")[1].split()[0]) <= 1.6
    pid = shown("MainPID")
    status = Path(f"/proc/{pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    assert "CapEff:\t0000000000000000" in status


@trial
def logs_with_priorities() -> None:
    (CONF / "models/broken.yaml").write_text("name: [\n")
    until("the warning is in the journal", lambda: any("broken.yaml" in line["MESSAGE"] for line in journal()))
    lines = journal()
    told = [line for line in lines if "broken.yaml" in line["MESSAGE"]]
    assert min(int(line["PRIORITY"]) for line in told) <= 4, told
    assert not [line for line in lines if line["MESSAGE"].startswith("<")]
    asked = [line for line in lines if "echo" in line["MESSAGE"] and "200" in line["MESSAGE"]]
    assert asked
    assert {line["PRIORITY"] for line in asked} == {"6"}
    print("  ", told[0]["PRIORITY"], told[0]["MESSAGE"])
    print("  ", asked[0]["PRIORITY"], asked[0]["MESSAGE"])
    (CONF / "models/broken.yaml").unlink()


@trial
def reloads_and_reports_a_failed_reload() -> None:
    proxy = CONF / "proxy.yaml"
    good = proxy.read_text()
    run("systemctl", "reload", UNIT)
    proxy.write_text(good + "prot: 8000\n")
    refused = run("systemctl", "reload", UNIT, check=False)
    assert refused.returncode != 0
    assert answers()
    assert any("prot" in line["MESSAGE"] for line in journal())
    proxy.write_text(good)
    run("systemctl", "reload", UNIT)
    assert shown("ActiveState") == "active"


@trial
def is_started_by_the_first_request() -> None:
    run("systemctl", "stop", UNIT)
    assert shown("ActiveState") == "inactive"
    assert shown("ActiveState", "openai-proxy.socket") == "active"
    assert answers()
    assert shown("ActiveState") == "active"


@trial
def runs_python_tools_in_its_sandbox() -> None:
    shutil.copy(HERE / "fault_server.py", "/opt/fault_server.py")
    (CONF / "mcp/servers.yaml").write_text(
        "servers:\n  python: {command: python3, args: [/opt/fault_server.py]}\n"
        "  node: {command: node, args: [/opt/server.mjs], start_timeout: 10}\n"
    )
    _write_model("python", "node")
    until("the Python tool runs", lambda: _called("python"))


def _write_model(*servers: str) -> None:
    names = ", ".join(servers)
    (CONF / "models/house.yaml").write_text(f"name: augmented/house\nupstream_model: echo\nmcp_servers: [{names}]\n")


def _called(server: str) -> bool:
    """True if the daemon has run the server's tool: `openai-proxy mcp call` would start one outside the sandbox."""
    return f"mcp_{server}_echo: " in ask("augmented/house", f'call mcp_{server}_echo {{"text": "hi"}}')


@trial
def node_runs_only_with_the_drop_in() -> None:
    (HERE / "server.mjs").replace("/opt/server.mjs")
    run("systemctl", "restart", UNIT)
    until("the service is active", lambda: shown("ActiveState") == "active")
    until(
        "the failure of server node is in the journal",
        lambda: any("mcp server node: " in line["MESSAGE"] for line in journal()),
    )
    assert not _called("node"), "the server runs without the drop-in, which is therefore not needed"
    drop_in = Path("/etc/systemd/system/openai-proxy.service.d")
    drop_in.mkdir(exist_ok=True)
    shutil.copy("/usr/share/doc/openai-proxy/examples/mcp-node.conf", drop_in)
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", UNIT)
    until("the Node tool runs", lambda: _called("node"))
    assert _called("python")


@trial
def comes_back_after_a_crash() -> None:
    before = int(shown("NRestarts"))
    os.kill(int(shown("MainPID")), signal.SIGSEGV)
    until("the daemon has restarted", lambda: int(shown("NRestarts")) > before and answers())
    os.kill(int(shown("MainPID")), signal.SIGKILL)
    until("the daemon has restarted again", lambda: int(shown("NRestarts")) > before + 1 and answers())


@trial
def a_daemon_that_hangs_is_ended_and_started_again() -> None:
    drop_in = Path("/run/systemd/system/openai-proxy.service.d")
    drop_in.mkdir(parents=True)
    (drop_in / "hurry.conf").write_text("[Service]\nWatchdogSec=20\nTimeoutAbortSec=5\n")
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", UNIT)
    before, pid = int(shown("NRestarts")), shown("MainPID")
    os.kill(int(pid), signal.SIGSTOP)
    until(
        "the watchdog has restarted the daemon",
        lambda: int(shown("NRestarts")) > before and shown("MainPID") not in ("0", pid),
    )
    assert answers()
    (drop_in / "hurry.conf").unlink()
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", UNIT)


class Traffic:
    """Clients that send requests all the time, half of them for streams of two seconds; `failed` lists the failures."""

    def __init__(self, clients: int = 8) -> None:
        self.answered = 0
        self.failed: list[str] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number % 2 == 0,)) for number in range(clients)]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(3)
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, slow: bool) -> None:
        while not self._ended.is_set():
            try:
                text = ask("slow" if slow else "echo", stream=slow)
                if slow and not ('"19 ' in text and text.rstrip().endswith("data: [DONE]")):
                    self.failed.append(f"cut off: …{text[-200:]}")
            except (OSError, urllib.error.HTTPError) as error:
                self.failed.append(str(error))
            self.answered += 1
            time.sleep(0.02)


def _with_a_slow_provider() -> None:
    proxy = CONF / "proxy.yaml"
    proxy.write_text("connections:\n  slow: {api_base: 'http://127.0.0.1:9999/v1'}\n")
    run("systemctl", "reload", UNIT)
    assert '"19 ' in ask("slow", stream=True)


@trial
def an_upgrade_refuses_no_request() -> None:
    _with_a_slow_provider()
    pid = shown("MainPID")
    with Traffic() as traffic:
        time.sleep(2)
        run("dpkg", "-i", "/opt/two.deb")
        until("the new version is active", lambda: shown("ActiveState") == "active")
    assert shown("MainPID") != pid
    print(f"   {traffic.answered} requests during the upgrade, {len(traffic.failed)} failed")
    assert traffic.failed == [], traffic.failed


@trial
def a_restart_refuses_no_request() -> None:
    with Traffic() as traffic:
        for _ in range(3):
            time.sleep(1)
            run("systemctl", "restart", UNIT)
    print(f"   {traffic.answered} requests during three restarts, {len(traffic.failed)} failed")
    assert traffic.failed == [], traffic.failed


@trial
def a_wrong_configuration_is_reported_and_the_last_one_serves() -> None:
    proxy = CONF / "proxy.yaml"
    good = proxy.read_text()
    proxy.write_text("port: [\n")
    run("systemctl", "restart", UNIT)
    assert answers()
    assert any("proxy.yaml:1" in line["MESSAGE"] and int(line["PRIORITY"]) <= 4 for line in journal()[-30:])
    proxy.write_text(good)
    run("systemctl", "reload", UNIT)


@trial
def several_daemons_by_the_template() -> None:
    for port in (8001, 8002):
        run("systemctl", "start", f"openai-proxy@{port}")
    for port in (8001, 8002):
        assert answers(port=port)
        assert Path(f"/var/lib/openai-proxy-{port}").exists()
        assert shown("User", f"openai-proxy@{port}") == "openai-proxy"
    pids = {shown("MainPID", f"openai-proxy@{port}") for port in (8001, 8002)}
    run("dpkg", "-i", "/opt/two.deb")
    assert pids.isdisjoint(shown("MainPID", f"openai-proxy@{port}") for port in (8001, 8002)), (
        "an instance was not restarted by the upgrade"
    )
    until("both instances answer", lambda: answers(port=8001) and answers(port=8002))
    run("systemctl", "reload", "openai-proxy@8001")


@trial
def removing_the_package_leaves_nothing_behind() -> None:
    run("dpkg", "--purge", "openai-proxy")
    for left in ("/etc/openai-proxy", "/usr/lib/openai-proxy", "/lib/systemd/system/openai-proxy.service",
                 *Path("/var/lib").glob("openai-proxy*"), *Path("/var/log").glob("openai-proxy*")):  # fmt: skip
        assert not Path(left).exists(), left
    assert not run("ss", "-Htln", "sport = :8000").stdout
    assert not run("systemctl", "list-units", "--all", "--plain", "--no-legend", "openai-proxy*").stdout.strip()
    shutil.rmtree("/etc/systemd/system/openai-proxy.service.d")


@trial
def make_install_works() -> None:
    """Do what `make install` does after it has put the new version beside the old one: packaging/switch.sh."""
    shutil.copytree("/opt/stage/etc/openai-proxy", CONF)
    done = _switch()
    print("  ", done.stdout.strip())
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", "--now", "openai-proxy.socket", "openai-proxy.service")
    assert answers()
    assert shown("DynamicUser") == "yes"
    assert Path(f"/proc/{shown('MainPID')}").stat().st_uid not in (0, os.getuid())
    (CONF / "mcp/servers.yaml").write_text("servers:\n  python: {command: python3, args: [/opt/fault_server.py]}\n")
    _write_model("python")
    until("the Python tool runs under DynamicUser", lambda: _called("python"))


def _switch(check: bool = True) -> "subprocess.CompletedProcess[str]":
    new = "/usr/local/lib/openai-proxy.new"
    run("cp", "-a", "/opt/stage/usr/local/lib/openai-proxy", new)
    shutil.rmtree(Path(new, "share"))
    run("cp", "-a", "/opt/stage/share", f"{new}/share")
    if not check:
        init = next(Path(new).glob("lib/python3*/site-packages/openai_proxy/__main__.py"))
        init.write_text("raise SystemExit('broken')\n")
    return run("sh", "/opt/switch.sh", "/usr/local/lib/openai-proxy", "/usr/local/lib/systemd/system",
               "/usr/local/bin", check=check)  # fmt: skip


@trial
def a_second_make_install_refuses_no_request_and_rolls_back_a_broken_version() -> None:
    _with_a_slow_provider()
    run("systemctl", "start", "openai-proxy@8001")
    pids = [shown("MainPID"), shown("MainPID", "openai-proxy@8001")]
    with Traffic() as traffic:
        time.sleep(1)
        _switch()
    print(f"   {traffic.answered} requests during the upgrade, {len(traffic.failed)} failed")
    assert traffic.failed == [], traffic.failed
    assert shown("MainPID") != pids[0]
    assert shown("MainPID", "openai-proxy@8001") != pids[1], "an instance was not restarted"
    failed = _switch(check=False)
    assert failed.returncode == 1
    assert "serves again" in failed.stderr
    print("  ", failed.stderr.strip().splitlines()[0])
    until("the old version answers", answers)


def main() -> int:
    subprocess.Popen([sys.executable, HERE / "upstream.py"])
    bad = 0
    for function in TRIALS:
        name = function.__name__.replace("_", " ")
        begun = time.monotonic()
        try:
            function()
            print(f"ok: {name} ({time.monotonic() - begun:.1f} s)", flush=True)
        except Exception:
            bad += 1
            traceback.print_exc(file=sys.stdout)
            print(run("journalctl", "-u", "openai-proxy*", "-n", "80", "--no-pager", check=False).stdout)
            print(f"FAILED: {name}", flush=True)
    print(f"THE TRIAL IS OVER: {len(TRIALS) - bad} of {len(TRIALS)} went well", flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(main())
