"""The service manager's end of the notify socket."""

import socket

from tests.harness.daemon import Daemon, free_port
from tests.harness.waiting import PATIENCE


class Manager:
    """A bound datagram socket, and all messages that it received."""

    def __init__(self, name: str) -> None:
        self.name = name  # a path, or an abstract name that begins with "@"
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind("\0" + name[1:] if name.startswith("@") else name)
        self.sock.settimeout(PATIENCE)

    def next_message(self) -> dict[str, str]:
        """The next message."""
        return dict(line.split("=", 1) for line in self.sock.recv(8192).decode().split("\n"))

    def next_of(self, name: str) -> dict[str, str]:
        """The next message that has the field `name`."""
        while True:
            message = self.next_message()
            if name in message:
                return message

    def start(self, daemon: Daemon, **environ: str) -> dict[str, str]:
        """Run `daemon` under this manager; returns its first READY."""
        daemon.port = daemon.port or free_port()
        daemon.launch({"NOTIFY_SOCKET": self.name, **environ})
        return self.next_of("READY")
