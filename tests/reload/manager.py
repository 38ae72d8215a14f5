"""The other end of the line to the service manager."""

import socket
from pathlib import Path

from tests.harness.daemon import Daemon, free_port
from tests.harness.waiting import PATIENCE


class Manager:
    """A bound datagram socket, and all it was told."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "manager")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.sock.settimeout(PATIENCE)

    def next_of(self, name: str) -> dict[str, str]:
        """The next message that has the field `name`."""
        while True:
            message = dict(line.split("=", 1) for line in self.sock.recv(8192).decode().split("\n"))
            if name in message:
                return message

    def start(self, daemon: Daemon, **environ: str) -> dict[str, str]:
        """Run `daemon` under this manager; its first READY."""
        daemon.port = daemon.port or free_port()
        daemon.launch({"NOTIFY_SOCKET": self.path, **environ})
        return self.next_of("READY")
