"""What the redactor finds, and what it leaves unchanged to the byte."""

import base64
import json
import random
import string
import sys
import time
from urllib.parse import quote

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.secrets import MARK, Vault
from openai_proxy.transforms.redaction.finder import SLICE, SecretFinder
from openai_proxy.transforms.redaction.redactor import Redactor

SECRET = "Zq7/pl+Tk9-w!x&U3mNvC5tRb1eYhG8a"
OPENAI = "sk-proj-9aB8cD7eF6gH5iJ4kL3mN2oP1qR0"


def redactor(*secrets: str) -> Redactor:
    vault = Vault()
    vault.learn(secrets)
    made = Redactor(vault)
    made.refresh()
    return made


def chat(content: object, **more: object) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}], **more}).encode()


def through(body: bytes, *secrets: str, own: str | None = None) -> bytes:
    return redactor(*secrets).body(body, orjson.loads(body), own)


DISGUISES = {
    "plain": lambda s: s,
    "in a word": lambda s: f"abc{s}def",
    "json": lambda s: json.dumps({"key": s}),
    "json in json": lambda s: json.dumps(json.dumps({"key": s})),
    "json escapes": lambda s: "".join(f"\\u{ord(c):04x}" for c in s),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 of a pair": lambda s: base64.b64encode(f"user:{s}\n".encode()).decode(),
    "base64 one off": lambda s: base64.b64encode(f"abcd{s}".encode()).decode(),
    "base64url": lambda s: base64.urlsafe_b64encode(f"ab{s}z".encode()).decode().rstrip("="),
    "url": lambda s: f"https://x/?key={quote(s, safe='')}&a=b",
    "url lower case": lambda s: quote(s, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
    "every byte by percent": lambda s: "".join(f"%{b:02X}" for b in s.encode()),
    "some bytes by percent": lambda s: "".join(f"%{ord(c):02x}" if i % 3 else c for i, c in enumerate(s)),
    "hex": lambda s: s.encode().hex(),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_secret_is_found_in_every_form(disguise: str) -> None:
    text = DISGUISES[disguise](SECRET)
    clean = through(chat(f"before\n{text} after"), SECRET)
    content = orjson.loads(clean)["messages"][0]["content"]
    assert MARK in content
    assert content.startswith("before\n")
    assert content.endswith(" after")
    assert text not in content


def test_a_secret_written_with_json_escapes_by_the_client_is_found() -> None:
    escaped = "".join(f"\\u{ord(c):04x}" for c in SECRET)
    body = b'{"model":"m","messages":[{"role":"user","content":"x ' + escaped.encode() + b'"}]}'
    assert through(body, SECRET) == b'{"model":"m","messages":[{"role":"user","content":"x [REDACTED]"}]}'
    slashes = SECRET.replace("/", "\\/").encode()
    assert MARK.encode() in through(b'{"model":"m","prompt":"' + slashes + b'"}', SECRET)


@pytest.mark.parametrize("cut", range(1, len(SECRET)))
def test_a_secret_split_over_text_parts_is_found(cut: int) -> None:
    parts = [{"type": "text", "text": "a " + SECRET[:cut]}, {"type": "text", "text": SECRET[cut:] + " b"}]
    content = orjson.loads(through(chat(parts), SECRET))["messages"][0]["content"]
    assert [part["text"] for part in content] == [f"a {MARK}", " b"]


def test_a_secret_over_three_parts_with_a_picture_between_is_found() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    parts = [{"type": "text", "text": t} for t in (SECRET[:5], SECRET[5:9], SECRET[9:])]
    content = orjson.loads(through(chat([parts[0], picture, *parts[1:]]), SECRET))["messages"][0]["content"]
    assert [part.get("text") for part in content] == [MARK, None, "", ""]


@pytest.mark.parametrize("where", ["system", "tool", "assistant"])
def test_every_kind_of_message_is_searched(where: str) -> None:
    body = orjson.dumps({"messages": [{"role": where, "content": f"it is {SECRET}"}, {"role": "user", "content": "?"}]})
    assert orjson.loads(through(body, SECRET))["messages"][0]["content"] == f"it is {MARK}"


def test_duplicate_members_are_both_cleaned() -> None:
    """Some parsers use the first of two equal names, others the last."""
    body = b'{"messages":[{"role":"user","content":"' + OPENAI.encode() + b'","content":"x"}]}'
    assert OPENAI.encode() not in through(body)


def test_only_strings_with_a_secret_change() -> None:
    before = b'{ "model" : "m",\n "messages":[ {"role":"user" , "content":"\\u00e9 \\/ key '
    after = b'"} ], "x": 1.50, "y": "\\u0041" }'
    body = before + OPENAI.encode() + after
    clean = through(body)
    assert clean.endswith(after)
    assert clean.startswith(b'{ "model" : "m",\n "messages":[ {"role":"user" , "content":')
    assert orjson.loads(clean)["messages"][0]["content"] == f"é / key {MARK}"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    ),
    st.booleans(),
)
def test_without_a_secret_the_body_is_the_same_object(value: object, ascii_only: bool) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": value}]}, ensure_ascii=ascii_only).encode(
        "utf-8", "surrogatepass"
    )
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:  # lone surrogates: such requests are refused
        return
    assert KNOWN.body(body, document) is body


KNOWN = redactor(*(f"{i:02d}-Known-Secret-{i * 7919}" for i in range(50)))


@given(st.text(), st.text(), st.sampled_from(sorted(DISGUISES)), st.integers(0, 49))
def test_a_known_secret_is_removed_whatever_surrounds_it(before: str, after: str, disguise: str, number: int) -> None:
    secret = f"{number:02d}-Known-Secret-{number * 7919}"
    text = DISGUISES[disguise](secret)
    body = (
        orjson.dumps({"messages": [{"role": "user", "content": before.replace("\ud800", "") + text + after}]})
        if (not any("\ud800" <= c <= "\udfff" for c in before + after))
        else b'{"messages":[]}'
    )
    clean = KNOWN.body(body, orjson.loads(body))
    content = json.dumps(orjson.loads(clean), ensure_ascii=False)
    assert text not in content
    assert secret not in content


@given(st.binary(max_size=9), st.binary(max_size=9))
def test_base64_around_a_secret_reveals_none_of_its_characters(before: bytes, after: bytes) -> None:
    encoded = base64.b64encode(before + SECRET.encode() + after).decode()
    clean = SecretFinder((SECRET,)).clean(encoded.encode()).decode()
    left, _, right = clean.partition(MARK)
    assert len(left) <= (len(before) * 8) // 6 + 1
    assert len(right.rstrip("=")) <= (len(after) * 8) // 6 + 2


def test_overlapping_secrets_are_both_removed() -> None:
    one, two = "abcdefgh-12345", "12345-ijklmnop"
    assert SecretFinder((one, two)).clean(b"x abcdefgh-12345-ijklmnop y") == b"x [REDACTED] y"


def test_a_known_secret_inside_a_text_that_resembles_a_key_is_found() -> None:
    secret = "green-hello-kitty"
    assert secret.encode() not in SecretFinder((secret,)).clean(b"sk-learn-and-other-green-hello-kitty-words")


@pytest.mark.parametrize(
    "key",
    [
        OPENAI,
        "sk-ant-api03-" + "aB3" * 20,
        "sk-or-v1-" + "0a1b" * 16,
        "ghp_" + "a1B2" * 9,
        "AIza" + "SyD3x" * 7,
        "AKIA" + "ABCD1234" * 2,
        "xoxb-123456789012-abcdefABCDEF",
        "hf_" + "aB1c" * 9,
        "gsk_" + "aB1c" * 12,
        "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiIxMjM0In0.c2lnbmF0dXJlLXdpdGgtZGlnaXRzLTEyMw",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC==\n-----END RSA PRIVATE KEY-----",
    ],
)
@pytest.mark.parametrize("around", ["{}", "key={}.", "first line\n{}\nlast line", '"{}"'])
def test_common_key_formats_are_known(key: str, around: str) -> None:
    content = orjson.loads(through(chat(around.format(key))))["messages"][0]["content"]
    assert content == around.format(MARK)


@pytest.mark.parametrize(
    "text",
    [
        "a risk-assessment-of-long-term-contracts-2026",
        "scikit: sk-learn-style-classification-pipelines",
        "use sk-… or sk-xxx as the key",
        "the ollama server, password and secret",
        "ask-me-anything-about-everything-1234567890",
        "AKIA is a prefix, AIza another, eyJ too",
    ],
)
def test_words_that_resemble_keys_stay(text: str) -> None:
    body = chat(text)
    assert through(body, "ollama", "password", "sk-no-key-required") is body


def test_images_are_not_searched() -> None:
    data = base64.b64encode(b"\x89PNG" + SECRET.encode() * 3).decode()
    body = chat([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}])
    assert through(body, SECRET) is body
    beside = chat(f"data:image/png;base64,AAAA and {SECRET}")
    assert SECRET.encode() not in through(beside, SECRET)


def test_the_name_of_the_model_stays() -> None:
    body = b'{"model": "tinyllama-secret", "messages": [{"role": "user", "content": "tinyllama-secret"}]}'
    assert through(body, "tinyllama-secret") == body.replace(b': "tinyllama-secret"}', b': "[REDACTED]"}')


def test_the_callers_own_key_is_a_secret() -> None:
    own = "my-own-client-key-77"
    assert own.encode() not in through(chat(f"this is {own}"), own=own)
    assert through(chat("a placeholder: ollama not-needed"), own="not-needed") == chat(
        "a placeholder: ollama not-needed"
    )


def test_log_lines_stay_json() -> None:
    made = redactor("nightingale-77")
    line = json.dumps({"a": "one\nightingale-77 \\nightingale-77 \nsk-proj-abcdefgh1234567890abcd", "b": 1})
    clean = made.text(line)
    assert "ightingale" not in json.loads(clean)["a"] or "nightingale" not in clean
    assert "nightingale-77" not in json.loads(clean)["a"]
    assert "sk-proj" not in clean
    assert json.loads(clean)["b"] == 1


@pytest.mark.parametrize("before", [SLICE - len(SECRET) - 1, SLICE - 7, SLICE, 2 * SLICE - 1])
def test_a_secret_across_two_slices_of_a_large_body_is_found(before: int) -> None:
    made = redactor(SECRET)
    for text in (SECRET, OPENAI):
        body = b" " * before + text.encode() + b" " * SLICE
        assert made._finder.suspects(body)
        assert not made._finder.quiet(body)
    assert not made._finder.suspects(b" " * (3 * SLICE + 5))


def test_new_secrets_of_the_vault_are_found_after_a_refresh() -> None:
    vault = Vault()
    made = Redactor(vault)
    made.refresh()
    assert made.fresh
    vault.learn([SECRET])
    assert not made.fresh
    made.refresh()
    assert SECRET not in made.text(f"it is {SECRET}")


def test_the_same_is_found_without_re2(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = SecretFinder((SECRET, "abcdefgh-12345"))
    monkeypatch.setitem(sys.modules, "re2", None)
    slow = SecretFinder((SECRET, "abcdefgh-12345"))
    for disguise in DISGUISES.values():
        text = f"x {disguise(SECRET)} {OPENAI} abcdefgh-12345 y".encode()
        assert slow.suspects(text)
        assert slow.clean(text) == fast.clean(text)
    assert not slow.suspects(b"nothing here")


def test_searching_nasty_texts_takes_linear_time() -> None:
    """Each of these texts could make a pattern take quadratic time, which is minutes for a megabyte."""
    made = redactor(*("".join(random.Random(i).choices(string.ascii_letters, k=32)) for i in range(50)))
    for text in ("ask-1", "sk-1-", "sk-a ", "-----BEGIN ", "eyJaaaaaaaaaaaa.", "%73", "\\u0073", "AKIAAAAA"):
        made.text(text * (1_000_000 // len(text)))


def test_many_keys_over_many_parts_take_linear_time() -> None:
    made = redactor(SECRET)

    def seconds(number: int) -> float:
        body = chat([{"type": "text", "text": SECRET[16:] + " " if at % 2 else SECRET[:16]} for at in range(number)])
        document = orjson.loads(body)
        begin = time.thread_time()
        assert SECRET[16:].encode() not in made.body(body, document)
        return time.thread_time() - begin

    seconds(100)
    # Sixteen times the parts; quadratic would be 256 times the time. CPU time, and the best of three on a busy machine.
    assert any(seconds(16_000) < seconds(1000) * 16 * 4 for _ in range(3))


@given(st.text(), st.sampled_from([*sorted(DISGUISES), "none"]), st.booleans(), st.booleans())
def test_a_quiet_body_is_never_suspect(around: str, disguise: str, ascii_only: bool, slashes: bool) -> None:
    """The fast path and the ordinary path use different checks, which must agree."""
    secret = DISGUISES.get(disguise, lambda _: "")("07-Known-Secret-55433")
    body = json.dumps({"messages": [{"content": around + secret}]}, ensure_ascii=ascii_only).encode(
        "utf-8", "surrogatepass"
    )
    if slashes:
        body = body.replace(b"/", b"\\/")
    document = json.loads(body)
    if KNOWN.quiet(body, document):
        assert not KNOWN.suspects(body, document)
        assert disguise == "none"


def test_bodies_that_need_a_search_are_not_quiet() -> None:
    made = redactor("some-secret-1")
    document = {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 2}]}
    assert not made.quiet(json.dumps(document).encode(), document)
    assert made.quiet(b'{"messages":[]}', {"messages": []}, "my-own-key-5")
    assert not made.quiet(b'{"user":"my-own-key-5"}', {"user": "my-own-key-5"}, "my-own-key-5")
    made._vault.learn(["another-secret-2"])
    assert not made.quiet(b'{"messages":[]}', {"messages": []})
