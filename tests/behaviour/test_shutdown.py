"""When one side ends, so does the other, and SIGTERM ends the process with 0, whatever is still running."""

import signal
from pathlib import Path

import psutil
import pytest

from tests.conftest import DaemonFactory
from tests.front.configurations import WAYS, connection, front_conf
from tests.front.test_websocket import knock
from tests.harness.plays import DONE, RST, completion, delta, event, plain, stream
from tests.harness.upstream import Peer, Upstream
from tests.harness.waiting import eventually
from tests.harness.websocket import BINARY, accept, frame

BUSY = '''
import time
from openai_proxy import tool

@tool
def ponder() -> str:
    """Think for ever."""
    while True:
        time.sleep(0.01)
'''


def test_sigterm_ends_a_daemon_whose_tool_never_returns(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    call = {"index": 0, "id": "c", "function": {"name": "ponder", "arguments": "{}"}}
    asks = event({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]})
    play = upstream.play(stream(asks, delta("", finish="tool_calls"), DONE))
    files = {
        "tools/busy.py": BUSY,
        "models/a.yaml": "name: augmented/a\nupstream_model: main.any\ntools: [ponder]\n",
    }
    daemon = make_daemon(front_conf(upstream, limits={"drain_seconds": 0.2}), files=files)
    wire = daemon.wire().chat("augmented/a", stream=True, headers=[("X-Play", play.model)])
    wire.read_head()
    wire.read_until(b"executing_tool")
    daemon.signal(signal.SIGTERM)
    assert daemon.exit_code() == 0


@pytest.mark.parametrize("way", WAYS)
def test_a_tunnel_without_its_provider_does_not_wait_for_a_client_that_never_reads(
    make_daemon: DaemonFactory, upstream: Upstream, way: str
) -> None:
    conf = front_conf(upstream, connections={"other": connection(upstream.url)}, limits={"write_seconds": 1})
    daemon = make_daemon(conf, flags=WAYS[way])
    play = upstream.play()

    async def flood(peer: Peer) -> None:
        key = play.requests[-1].header("sec-websocket-key")
        head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        peer.transport.write(
            f"{head}{accept(key or '')}\r\n\r\n".encode() + frame(BINARY, b"x" * 1_000_000, masked=False) * 12
        )

    play.steps = (flood, RST)
    wire, _ = knock(daemon, play, key=None)
    assert wire.read_head(method="GET").status == 101
    eventually(lambda: daemon.clients() == 0, "the client that does not read is disconnected")


def test_a_deleted_log_file_is_closed(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    """Otherwise its disk space would only be released when the daemon ends."""
    daemon = make_daemon(front_conf(upstream))
    play = upstream.play(plain(completion("one")))
    assert daemon.chat(play.model).status == 200
    eventually(lambda: list(daemon.logs_dir.glob("*.jsonl")), "the log is written")
    for path in daemon.logs_dir.glob("*.jsonl"):
        path.unlink()
    process = psutil.Process(daemon.process.pid)

    def held() -> list[str]:
        links = Path(f"/proc/{process.pid}/fd").iterdir()
        return [target for link in links if ".jsonl" in (target := _target(link)) and "deleted" in target]

    eventually(lambda: held() == [], "no deleted file is open")


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed in the meantime
        return ""
