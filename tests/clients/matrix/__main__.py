"""See the package: runs the matrix and prints it. Exit code 1 if a cell has failed."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.augmented.configurations import TOOLS
from tests.clients.matrix import model
from tests.clients.matrix.clients import CLIENTS, Asked, Client, install, node
from tests.front.configurations import connection
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream

PATIENCE: Final = 90  # seconds for one run
KEPT: Final = Path("build") / "clients"
NOWHERE: Final = "http://127.0.0.1:9"
"""An unreachable proxy: anything that a client sends elsewhere than to the daemon fails at once."""

Column = tuple[str, str, str, str]
"""Heading, model, question, and what the last words must contain."""

COLUMNS: Final[tuple[Column, ...]] = (
    ("plain OpenAI", "gpt-house", "THEIRTOOL: run your tool, please.", model.DONE_TEXT),
    ("plain Claude", "claude-house", "THEIRTOOL: run your tool, please.", model.DONE_TEXT),
    ("augmented", "augmented/house", "OURTOOL: what is twice 21?", model.OURS_TEXT),
    ("mixed", "augmented/house", "BOTHTOOLS: run both tools, please.", model.BOTH_TEXT),
)


def main() -> int:
    """Run what the command line selects."""
    parser = argparse.ArgumentParser(prog="make clients", description=sys.modules["tests.clients.matrix"].__doc__)
    parser.add_argument("names", nargs="*", help="parts of clients' names; without any, all")
    parser.add_argument("--install", action="store_true", help="install what is missing")
    parser.add_argument("--keep", action="store_true", help=f"keep what the clients print in {KEPT}")
    chosen = parser.parse_args()
    names = [name.lower() for name in chosen.names]
    # A short name must match exactly: "pi" also occurs in "anthropic".
    clients = [
        c
        for c in CLIENTS
        if not names or any(n == c.name.lower() or (len(n) > 2 and n in c.name.lower()) for n in names)
    ]
    upstream = Upstream().start()
    try:
        with tempfile.TemporaryDirectory(prefix="clients-") as place:
            return _run(clients, upstream, Path(place), may_install=chosen.install, keep=chosen.keep)
    finally:
        upstream.stop()


def _run(clients: list[Client], upstream: Upstream, place: Path, *, may_install: bool, keep: bool) -> int:
    play = upstream.acting(model.answer, "house")
    daemon = Daemon(place / "daemon", _conf(upstream, play.model), files={**TOOLS, **_models()}).start()
    failed = 0
    print(f"{'':28}" + "".join(f"{column[0]:>16}" for column in COLUMNS), flush=True)
    try:
        for client in clients:
            program = client.find()
            if program is None and may_install:
                try:
                    install(client)
                except (subprocess.SubprocessError, OSError) as error:
                    print(f"{client.name:28} cannot be installed: {str(error)[:80]}")
                program = client.find()
            if program is None:
                print(f"{client.name:28}" + "   not installed", flush=True)
                continue
            print(f"{client.name:28}", end="", flush=True)
            for column in COLUMNS:
                told = _cell(client, program, daemon, column, place, keep=keep)
                failed += told.startswith("FAILED")
                print(f"{told:>16}", end="", flush=True)
            print(flush=True)
        daemon.stop()
    finally:
        daemon.kill()
    return 1 if failed else 0


def _cell(client: Client, program: str, daemon: Daemon, column: Column, place: Path, *, keep: bool) -> str:
    heading, name, question, expected = column
    if not client.tools:
        if heading == "mixed":
            return "has no tools"
        if "THEIRTOOL" in question:
            question, expected = "TEXTONLY: say hello.", model.TEXT
    home = Path(tempfile.mkdtemp(dir=place))
    asked = Asked(f"http://127.0.0.1:{daemon.port}", name, question, home)
    run = client.start(program, asked)
    node_folder = str(Path(node() or "/usr/bin/node").parent)
    environ = {
        "PATH": os.pathsep.join((node_folder, os.environ.get("PATH", ""))), "HOME": str(home), "TERM": "dumb",
        "LANG": "C.UTF-8", "CI": "1", "NO_COLOR": "1", "HTTPS_PROXY": NOWHERE, "HTTP_PROXY": NOWHERE,
        "https_proxy": NOWHERE, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost", **run.environ,
    }  # fmt: skip
    began = time.monotonic()
    try:
        done = subprocess.run(
            run.command, cwd=home, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE,
            check=False,
        )  # fmt: skip
        out, err, code = done.stdout, done.stderr, str(done.returncode)
    except subprocess.TimeoutExpired as late:
        out, err, code = late.stdout or b"", late.stderr or b"", "time"
    if keep:
        KEPT.mkdir(parents=True, exist_ok=True)
        stem = f"{client.name}-{heading}".replace(" ", "_").replace("/", "_")
        (KEPT / f"{stem}.txt").write_bytes(b"exit " + code.encode() + b"\n" + out + b"\n--- stderr\n" + err)
    if expected in " ".join(out.decode("utf-8", "replace").split()):
        return f"ok {time.monotonic() - began:.0f} s"
    return f"FAILED ({code})"


def _conf(upstream: Upstream, play: str) -> dict[str, object]:
    return {
        "connections": {
            "main": connection(upstream.url),
            "claude": connection(upstream.url.removesuffix("/v1"), api_type="anthropic"),
        },
        "default_connection": "main",
        "routing": {"gpt-house": f"main.{play}", "claude-house": f"claude.{play}"},
    }


def _models() -> dict[str, str]:
    return {
        "models/house.yaml": "name: augmented/house\nupstream_model: gpt-house\nsystem_prompt: You are the house.\n"
        "tools: [double]\n"
    }


if __name__ == "__main__":
    sys.exit(main())
