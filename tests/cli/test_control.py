"""The control socket, however deep the state directory is."""

import socket
from pathlib import Path

import pytest

from openai_proxy.addresses import short
from openai_proxy.cli.control import CONTROL, NotRunning, ask, listens


def test_a_socket_with_a_long_path_is_reached_from_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / ("a" * 120) / ".state"
    state.mkdir(parents=True)
    monkeypatch.chdir(state.parent)
    assert short(state / CONTROL) == f".state/{CONTROL}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(short(state / CONTROL))
        listener.listen()
        assert listens(state)


def test_a_path_that_is_too_long_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="is too long for a socket: use a shorter one"):
        ask(tmp_path / ("a" * 120), "GET", "/admin/status")
