"""Secrets sent through the real daemon: none reaches a provider or a log; bodies without secrets are not changed."""

import base64
import json
import random
import string
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.behaviour.configurations import conf
from tests.conftest import DaemonFactory
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import completion, plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

_ALPHABET = string.ascii_letters + string.digits + "+/=&!_-."


def _secret(number: int) -> str:
    return "".join(random.Random(number).choices(_ALPHABET, k=28)) + f"{number:02d}"


SECRETS = {number: _secret(number) for number in range(50)}

ENCODINGS = {
    "plain": lambda s: s,
    "json": lambda s: json.dumps({"token": s, "next": "é"}),
    "json in json": lambda s: json.dumps(json.dumps([s])),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64 of basic auth": lambda s: base64.b64encode(f"admin:{s}".encode()).decode(),
    "base64url": lambda s: base64.urlsafe_b64encode(f"x{s}".encode()).decode(),
    "url": lambda s: f"https://host.example/?q=1&key={quote(s, safe='')}",
    "hex": lambda s: s.encode().hex(),
}


def configuration(upstream: Upstream, **more: Any) -> dict[str, Any]:
    """Secrets wherever an installation has them: connection keys, client keys, header values, the environment."""
    made = conf(upstream, **more)
    made["connections"]["one"]["api_keys"] = [SECRETS[n] for n in range(10)]
    del made["connections"]["one"]["api_key"]
    made["connections"]["two"]["headers"]["X-Api-Key"] = SECRETS[10]
    made["groups"] = {"family": {"api_keys": [SECRETS[n] for n in range(11, 30)]}}
    made["admin_api_keys"] = [SECRETS[30]]
    return made


ENVIRONMENT = {f"ROOM_{n}_{('TOKEN', 'SECRET', 'PASSWORD', 'API_KEY')[n % 4]}": SECRETS[n] for n in range(31, 50)}


def hidden_in(data: bytes) -> list[tuple[int, str]]:
    """The secrets found in `data`, and the encoding of each."""
    return [
        (number, name)
        for number, secret in SECRETS.items()
        for name, encode in ENCODINGS.items()
        for text in [encode(secret).encode()]
        if text in data or json.dumps(encode(secret))[1:-1].encode() in data
    ]


def test_canaries_reach_neither_the_provider_nor_the_logs(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    daemon = make_daemon(configuration(upstream), env=ENVIRONMENT)
    play = upstream.play(plain(completion("ok")))
    said: list[dict[str, Any]] = []
    for number, secret in SECRETS.items():
        for name, encode in ENCODINGS.items():
            said.append({"role": "user", "content": f"{number} {name}\n{encode(secret)} end"})
        half = len(secret) // 2
        parts = [{"type": "text", "text": secret[:half]}, {"type": "text", "text": secret[half:]}]
        said.append({"role": "user", "content": parts})
    roles = [
        {"role": "system", "content": f"The key is {SECRETS[31]}."},
        {"role": "tool", "tool_call_id": "c", "content": json.dumps({"password": SECRETS[32]})},
    ]
    for ascii_only in (True, False):
        body = json.dumps({"model": play.model, "messages": [*roles, *said]}, ensure_ascii=ascii_only).encode()
        assert daemon.post("/v1/chat/completions", body, key=SECRETS[11]).status == 200
    for number in (1, 2):
        seen = play.wait(number)
        assert hidden_in(seen.body) == []
        messages = seen.json()["messages"]
        assert [m["role"] for m in messages] == [m["role"] for m in [*roles, *said]]
        for message in messages[2:]:
            if isinstance(message["content"], str):
                assert message["content"].endswith(" end"), message
            else:
                assert [part["text"] for part in message["content"]] == ["[REDACTED]", ""]
    daemon.stop()
    for path in daemon.root.rglob("*"):
        if path.is_file() and path.name not in {"proxy.yaml", ".env"}:
            assert hidden_in(path.read_bytes()) == [], path


@pytest.fixture(scope="module")
def daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    env = {"HOUSE_TOKEN": SECRETS[40]}
    with Daemon(tmp_path_factory.mktemp("redaction"), conf(upstream), env=env).serving(leaks=False) as running:
        yield running


def sent(
    daemon: Daemon, upstream: Upstream, body: dict[str, Any], path: str = "/v1/chat/completions", **more: Any
) -> bytes:
    """The bytes of `body` as they reach the provider."""
    play = upstream.play(plain(completion("ok")))
    data = json.dumps({"model": play.model, **body}).encode()
    assert daemon.post(path, data, **more).status == 200
    return play.wait().body


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": f"x {SECRETS[40]}"}]}),
        ("/v1/completions", {"prompt": f"x {SECRETS[40]}"}),
        ("/v1/embeddings", {"input": ["a", f"x {SECRETS[40]}"]}),
        ("/v1/responses", {"input": [{"role": "user", "content": f"x {SECRETS[40]}"}]}),
        ("/v1/responses", {"instructions": f"x {SECRETS[40]}", "input": "Hi"}),
        ("/v1/images/generations", {"prompt": f"x {SECRETS[40]}"}),
    ],
)
def test_every_json_endpoint_is_covered(daemon: Daemon, upstream: Upstream, path: str, body: dict[str, Any]) -> None:
    data = sent(daemon, upstream, body, path)
    assert SECRETS[40].encode() not in data
    assert b"x [REDACTED]" in data


def test_only_the_secret_is_changed(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(completion("ok")))
    body = (
        f'{{"temperature": 1.50, "model":"{play.model}",\n "messages" :[{{"content":"k {CANARY}","role":"user"}}], '
        '"x":"\\u00e9 \\/" }'
    ).encode()
    daemon.post("/v1/chat/completions", body)
    assert play.wait().body == body.replace(CANARY.encode(), b"[REDACTED]")


@pytest.mark.parametrize(
    "options", [{"flags": ["--disable-redact-api-keys-in-prompts"]}, {"env": {"REDACT_API_KEYS_IN_PROMPTS": "false"}}]
)
def test_redaction_can_be_turned_off_except_for_the_logs(
    make_daemon: DaemonFactory, upstream: Upstream, options: dict[str, Any]
) -> None:
    daemon = make_daemon(conf(upstream), **options)
    key = "sk-proj-abcdefgh0123456789ABCDEF"
    own = "the-key-i-came-with-42"
    body = {"messages": [{"role": "user", "content": f"{CANARY} {key} {own}"}]}
    assert f"{CANARY} {key} {own}".encode() in sent(daemon, upstream, body, key=own)
    daemon.stop()
    logs = b"".join(path.read_bytes() for path in daemon.logs_dir.rglob("*.jsonl"))
    assert b"[REDACTED]" in logs
    assert CANARY.encode() not in logs
    assert key.encode() not in logs
    assert own.encode() not in logs


def test_a_session_may_turn_redaction_off_in_a_separate_message(daemon: Daemon, upstream: Upstream) -> None:
    command = "!/set(redact-api-keys-in-prompts=false)"
    play = upstream.play(plain(completion("ok")))
    mixed = [{"role": "user", "content": f"{command} it is {SECRETS[40]}"}]  # the command might be pasted text
    answer = daemon.chat(play.model, messages=mixed, user="anna")
    assert (answer.status, answer.header("x-proxy-error")) == (400, "command_failed")
    assert play.requests == []
    alone = [{"role": "user", "content": command}]
    assert daemon.chat(play.model, messages=alone, user="anna").status == 200
    plain_words = [{"role": "user", "content": SECRETS[40]}]
    assert SECRETS[40].encode() in sent(daemon, upstream, {"messages": plain_words, "user": "anna"})
    assert SECRETS[40].encode() not in sent(daemon, upstream, {"messages": plain_words, "user": "bert"})


def test_a_callers_own_key_is_a_secret_even_if_invalid(daemon: Daemon, upstream: Upstream) -> None:
    own = "a-key-for-somewhere-else-9"
    body = {"messages": [{"role": "user", "content": f"mine is {own}"}]}
    assert own.encode() not in sent(daemon, upstream, body, key=own)
    assert own.encode() in sent(daemon, upstream, body)


def test_a_secret_in_a_name_is_written_nowhere(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    """Usage is recorded by users, sessions and agents. When the daemon stops, its files are checked for keys."""
    daemon = make_daemon(conf(upstream))
    named = [("X-Claude-Code-Session-Id", f"s-{CANARY}"), ("X-Claude-Code-Agent-Id", CANARY)]
    for more in ({"user": f"anna-{CANARY}"}, {"metadata": {"user_id": CANARY}}):
        assert daemon.chat("m-small", headers=named, **more).status == 200
    eventually(
        lambda: b"anna-[REDACTED]" in daemon.control("GET", "/admin/usage?by=user").body,
        "the user's requests are counted",
    )
    daemon.stop()


def test_a_secret_added_by_an_edit_is_known_at_once(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    daemon = make_daemon(conf(upstream))
    fresh = "brand-new-secret-of-the-house"
    body = {"messages": [{"role": "user", "content": fresh}]}
    assert fresh.encode() in sent(daemon, upstream, body)
    daemon.edit_conf(lambda c: c["connections"]["two"].update(api_key=fresh))
    assert fresh.encode() not in sent(daemon, upstream, body)


def test_an_augmented_models_prompt_and_tool_results_are_cleaned(
    make_daemon: DaemonFactory, upstream: Upstream
) -> None:
    tool = (
        "from openai_proxy import tool\n\n@tool\ndef reveal() -> str:\n    '''Tell.'''\n"
        f"    return 'it is ' + 'K'.join({SECRETS[41].split('K')!r})\n"
    )
    call = {"id": "c1", "type": "function", "function": {"name": "reveal", "arguments": "{}"}}
    asks = {
        "id": "x", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "tool_calls",
                     "message": {"role": "assistant", "content": None, "tool_calls": [call]}}],
    }  # fmt: skip
    first = upstream.play(plain(json.dumps(asks).encode()))
    prompt = f"Key {SECRETS[41]}, {{{{reveal()}}}}."
    model = f"name: helper\nupstream_model: {first.model}\nsystem_prompt: '{prompt}'\ntools: [reveal]\n"
    daemon = make_daemon(
        conf(upstream), files={"models/helper.yaml": model, "tools/reveal.py": tool}, env={"HOUSE_SECRET": SECRETS[41]}
    )
    daemon.chat("helper", max_completion_tokens=500)
    rounds = [first.wait(1), first.wait(2)]
    assert b"Key [REDACTED], it is [REDACTED]." in rounds[0].body
    assert b'"it is [REDACTED]"' in rounds[1].body
    assert all(SECRETS[41].encode() not in seen.body for seen in rounds)


def test_compressed_bodies_are_read_too(daemon: Daemon, upstream: Upstream) -> None:
    import gzip

    play = upstream.play(plain(completion("ok")))
    body = json.dumps({"model": play.model, "messages": [{"role": "user", "content": SECRETS[40]}]}).encode()
    headers = [("Content-Encoding", "gzip")]
    assert daemon.post("/v1/chat/completions", gzip.compress(body), headers=headers).status == 200
    assert play.wait().body == body.replace(SECRETS[40].encode(), b"[REDACTED]")
    assert play.wait().header("content-encoding") is None


@pytest.mark.parametrize("own_key", [False, True])
def test_a_forms_text_loses_secrets_and_its_file_stays_unchanged(
    make_daemon: DaemonFactory, upstream: Upstream, *, own_key: bool
) -> None:
    daemon = make_daemon(configuration(upstream))
    play = upstream.play(plain(b"{}"))
    secret = SECRETS[12] if own_key else SECRETS[30]

    def form(prompt: str) -> bytes:
        fields = {"prompt": prompt, "model": play.model}
        text = "".join(
            f'--b7\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        file = b'--b7\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + secret.encode()
        return text.encode() + file + b"\r\n--b7--\r\n"

    kind = "multipart/form-data; boundary=b7"
    headers = [("X-Play", play.model)]
    for said in (f"spell {secret} so", "spell names so"):
        answer = daemon.post(
            "/v1/audio/transcriptions", form(said), content_type=kind, headers=headers, key=SECRETS[12]
        )
        assert answer.status == 200
    redacted = "spell [REDACTED] so" + " " * (len(secret) - len("[REDACTED]"))
    assert [seen.body for seen in play.requests] == [form(redacted), form("spell names so")]
