from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.secrets import vault
from openai_proxy.tools.result import MAX_RESULT_BYTES, bound, clean, failure, success, to_text, without_places


def test_a_short_result_stays():
    assert success("Licht an. 💡\n\tja").text == "Licht an. 💡\n\tja"


def test_a_long_result_keeps_head_and_tail_and_states_its_length():
    text = "HEAD" + "ä" * 200_000 + "TAIL"
    result = success(text).text
    assert result.startswith("HEAD")
    assert result.endswith("TAIL")
    assert "400008 bytes" in result
    assert len(result.encode()) <= MAX_RESULT_BYTES


@given(st.text(max_size=400), st.integers(min_value=150, max_value=600))
def test_a_bound_result_is_utf8_within_its_limit_and_bounding_twice_changes_nothing(text, limit):
    once = bound(text, limit)
    assert len(once.encode()) <= limit
    assert bound(once, limit) == once


def test_invisible_characters_are_removed_and_visible_ones_stay():
    assert clean("a\x00b\x1b[31mc\u202ed\u2066e\ufefff\U000e0041g\u200bh") == "ab[31mcdefgh"
    assert clean("👩\u200d👩 \r\n x\ty") == "👩\u200d👩 \n x\ty"
    assert clean("a\ud800b") == "a\ufffdb"


def test_secrets_are_removed_before_the_result_is_cut():
    secret = "sk-" + "s3cr3t" * 20
    vault.learn([secret])
    for at in range(59_000, 60_100, 37):
        text = "x" * at + secret + "y" * 200_000
        assert "s3cr3ts3cr3t" not in success(text).text


def test_a_secret_hidden_by_invisible_characters_is_found():
    vault.learn(["sk-hidden-one-1234"])
    assert "1234" not in success("key: sk-hidden\u200b-one-1234").text


def test_an_error_contains_no_path():
    text = failure(
        "FileNotFoundError: [Errno 2] No such file: '/home/me/My Files/a b.txt' at https://u:p@host/x?k=1"
    ).text
    assert "/home" not in text
    assert "My Files" not in text
    assert "host" not in text
    assert "FileNotFoundError" in text


def test_texts_that_resemble_a_path_stay():
    for text in ("5 km/h and/or 3/4", "2026/11/21", "a / b", "ratio 1:2", "He/she"):
        assert without_places(text) == text


def test_windows_and_home_paths_are_removed():
    assert without_places(r"in C:\Users\me\x.txt and \\nas\share\y and ~/secret/z") == "in [path] and [path] and [path]"


def test_an_empty_error_gets_a_text():
    assert failure("").text
    assert failure("").is_error


def test_unusual_values_become_json():
    assert to_text(None) == "(no output)"
    assert to_text("") == "(no output)"
    assert to_text({"a": 1, 2: [True, None]}) == '{"a":1,"2":[true,null]}'
    assert to_text({3, 1}) == "[1,3]"
    assert to_text(10**30) == str(10**30)
    assert to_text(b"\xff") == "\ufffd"
    loop: list[object] = []
    loop.append(loop)
    assert "list" in to_text(loop)
