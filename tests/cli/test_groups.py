"""A misspelt command is told the nearest one, in every group."""

import pytest

from openai_proxy.cli.main import run


@pytest.mark.parametrize(
    ("line", "nearest"),
    [("serv", "serve"), ("modls", "models"), ("mcp lst", "list"), ("logs shwo last", "show"), ("keys nwe", "new")],
)
def test_the_nearest_is_named(line: str, nearest: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"(did you mean {nearest}?)" in error


def test_nothing_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["zzz"]) == 2
    assert "no such command 'zzz'; `openai-proxy --help`" in capsys.readouterr().err
