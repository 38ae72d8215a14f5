"""The log line of a save."""

from pathlib import Path

from tests.harness.daemon import Daemon
from tests.harness.waiting import eventually

MODEL = "name: augmented/mine\nupstream_model: echo\n"


def test_a_save_with_a_mistake_is_logged_as_not_in_effect(tmp_path: Path) -> None:
    conf = {"connections": {"echo": {"api_type": "echo"}}}
    with Daemon(tmp_path, conf, files={"models/mine.yaml": MODEL}).serving() as daemon:
        daemon.write("models/mine.yaml", MODEL + "tolls: [calculator]\n")
        eventually(lambda: 'did you mean "tools"?' in daemon.stderr, "the mistake is reported")
        assert "what was edited has a mistake and is not in effect" in daemon.stderr
        assert "no difference in effect" not in daemon.stderr


def test_a_file_of_whose_mistakes_one_is_left_is_not_in_effect(tmp_path: Path) -> None:
    conf = {"connections": {"echo": {"api_type": "echo"}}}
    with Daemon(tmp_path, conf, files={"models/mine.yaml": MODEL + "tolls: []\nspeach: true\n"}).serving() as daemon:
        daemon.write("models/mine.yaml", MODEL + "tolls: []\nspeech: true\n")
        eventually(lambda: "configuration 2" in daemon.stderr, "the save is reported")
        assert "what was edited has a mistake and is not in effect" in daemon.stderr
