"""A misspelt command gets the nearest one suggested, in every group."""

import pytest

from openai_proxy.cli.main import run


@pytest.mark.parametrize(
    ("line", "nearest"),
    [("serv", "serve"), ("modls", "models"), ("mcp lst", "list"), ("logs shwo last", "show"), ("keys nwe", "new")],
)
def test_the_nearest_command_is_suggested(line: str, nearest: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"(did you mean {nearest}?)" in error


def test_dissimilar_names_get_no_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["zzz"]) == 2
    assert "no such command 'zzz'; see `openai-proxy --help`" in capsys.readouterr().err


def test_a_misspelt_option_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--prot", "8000"]) == 2
    assert "no such option '--prot' (did you mean --port?); see `openai-proxy serve --help`" in capsys.readouterr().err
    assert run(["check", "--zzz"]) == 2
    assert "no such option '--zzz'; see `" in capsys.readouterr().err
