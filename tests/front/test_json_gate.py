"""Fault matrix row 49: JSON bodies that two readers could understand differently are refused with 400."""

import json
from typing import Any

import pytest

from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.plays import plain
from tests.harness.upstream import Upstream
from tests.harness.wire import Answer

CASE_TWINS = ["Model", "MODEL", "mOdel", "Stream", "STREAM", "Tools", "Messages", "STREAM_OPTIONS", "tool_Choice"]

REFUSED = {
    "duplicate-model": b'{"model":"M","model":"secret","messages":[]}',
    "duplicate-model-same": b'{"model":"M","messages":[],"model":"M"}',
    "duplicate-escaped": b'{"model":"M","\\u006dodel":"secret","messages":[]}',
    "duplicate-stream": b'{"model":"M","stream":true,"messages":[],"stream":false}',
    "duplicate-tools": b'{"model":"M","tools":[],"messages":[],"tools":[]}',
    "duplicate-messages": b'{"model":"M","messages":[],"messages":[]}',
    **{f"case-{name}": json.dumps({"model": "M", "messages": [], name: None}).encode() for name in CASE_TWINS},
    "utf-16": '{"model":"M","messages":[]}'.encode("utf-16"),
    "utf-16-le": '{"model":"M","messages":[]}'.encode("utf-16-le"),
    "utf-32": '{"model":"M","messages":[]}'.encode("utf-32"),
    "latin-1": '{"model":"M","messages":[{"role":"user","content":"grüß"}]}'.encode("latin-1"),
    "overlong-utf8": b'{"model":"M","messages":[],"x":"\xc0\xaf"}',
    "surrogate-utf8": b'{"model":"M","messages":[],"x":"\xed\xa0\x80"}',
    "nan": b'{"model":"M","messages":[],"temperature":NaN}',
    "infinity": b'{"model":"M","messages":[],"temperature":-Infinity}',
    "depth": b'{"model":"M","messages":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "depth-unfinished": b'{"model":"M","messages":' + b"[" * 200_000,
    "depth-objects": b'{"model":"M","messages":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
    "two-values": b'{"model":"M","messages":[]}{"model":"secret"}',
    "trailing": b'{"model":"M","messages":[]} x',
    "unfinished": b'{"model":"M","messages":[]',
    "comment": b'{"model":"M",/* hi */"messages":[]}',
    "single-quotes": b"{'model':'M','messages':[]}",
    "trailing-comma": b'{"model":"M","messages":[],}',
    "control-char": b'{"model":"M","messages":[],"x":"a\nb"}',
    "array": b'[{"model":"M"}]',
    "string": b'"M"',
    "null": b"null",
    "spaces": b"   ",
    "nul-bytes": b"\0" * 20,
    "empty": b"",
}


@pytest.mark.parametrize("name", REFUSED)
def test_row49_refused_without_reaching_the_upstream(daemon: Daemon, upstream: Upstream, name: str) -> None:
    play = upstream.play(plain(b"{}"))
    before = len(upstream.unclaimed)
    body = REFUSED[name].replace(b'"M"', b'"' + play.model.encode() + b'"')
    check_error(daemon.post("/v1/chat/completions", body), 400)
    assert play.requests == []
    assert [seen for seen in upstream.unclaimed[before:] if seen.method == "POST"] == []


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/responses", "/completions"])
@pytest.mark.parametrize("name", ["duplicate-model", "case-MODEL", "utf-16", "nan", "depth", "two-values"])
def test_row49_on_every_path_that_is_routed_by_its_body(daemon: Daemon, path: str, name: str) -> None:
    check_error(daemon.post(path, REFUSED[name]), 400)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
def test_an_empty_body_is_answered(daemon: Daemon, path: str) -> None:
    check_error(daemon.post(path, b""), 400)


@pytest.mark.parametrize("model", [1, None, ["m"], {"a": 1}, True, ""], ids=repr)
def test_a_model_that_is_not_a_string_is_refused(daemon: Daemon, model: Any) -> None:
    error = check_error(daemon.post("/v1/chat/completions", json.dumps({"model": model, "messages": []}).encode()), 400)
    assert error["param"] == "model"


def test_a_missing_model_is_refused(daemon: Daemon) -> None:
    assert check_error(daemon.post("/v1/chat/completions", b'{"messages":[]}'), 400)["param"] == "model"


PASSED = {
    "nested-duplicates": b'{"model":"M","messages":[],"x":{"model":"a","model":"b","MODEL":"c"}}',
    "unknown-twins": b'{"model":"M","messages":[],"seed":1,"x":1,"X":2}',
    "exotic-numbers": b'{"model":"M","messages":[],"a":1e400,"b":-0.0,"c":1E+2,"d":0.10000000000000000555111512312578}',
    "lone-surrogate-escape": b'{"model":"M","messages":[{"role":"user","content":"\\ud800"}]}',
    "escaped-slashes": b'{"model":"M","messages":[],"x":"\\/\\u00e9\\n"}',
    "empty-names": b'{"":0,"model":"M","messages":[]}',
    "deep-but-sane": b'{"model":"M","messages":' + b"[" * 40 + b"]" * 40 + b"}",
    "templates": b'{"model":"M","messages":[{"role":"user","content":"{{7*7}} ${HOME} %(x)s {0.__class__}"}]}',
}


@pytest.mark.parametrize("name", PASSED)
def test_unusual_but_unambiguous_json_is_sent_unchanged(daemon: Daemon, upstream: Upstream, name: str) -> None:
    play = upstream.play(plain(b"{}"))
    body = PASSED[name].replace(b'"M"', b'"' + play.model.encode() + b'"')
    assert daemon.post("/v1/chat/completions", body).status == 200
    assert play.wait().body == body


@pytest.mark.parametrize("digits", [5000, 100_000])
def test_row49_huge_integers_cause_no_crash(daemon: Daemon, upstream: Upstream, digits: int) -> None:
    """Python refuses to parse them, with a different error: 400, or the same bytes are sent."""
    play = upstream.play(plain(b"{}"))
    body = b'{"model":"%s","messages":[],"n":%s}' % (play.model.encode(), b"7" * digits)
    answer = daemon.post("/v1/chat/completions", body)
    if answer.status == 200:
        assert play.wait().body == body
    else:
        check_error(answer, 400)


def test_row49_a_byte_order_mark_causes_no_crash(daemon: Daemon) -> None:
    answer = daemon.post("/v1/chat/completions", b'\xef\xbb\xbf{"model":"m","messages":[]}')
    check_error(answer, 400)


ROUTING_FIELDS = [
    "api_base",
    "base_url",
    "api_key",
    "custom_llm_provider",
    "extra_headers",
    "organization",
    "connection",
]


def test_nothing_in_a_request_chooses_its_destination(daemon: Daemon, upstream: Upstream) -> None:
    """As in CVE-2024-6587: fields that other gateways obey are plain data here, and are sent unchanged."""
    trap = Upstream().start()
    try:
        play = upstream.play(plain(b"{}"))
        fields = dict.fromkeys(ROUTING_FIELDS, trap.url)
        body = json.dumps({"model": play.model, "messages": [], **fields}).encode()
        headers = [("X-Portkey-Custom-Host", trap.url), ("X-Api-Base", trap.url), ("Base-Url", trap.url)]
        with daemon.wire() as wire:
            query = f"/v1/chat/completions?api_base={trap.url}"
            assert wire.request("POST", query, body=body, headers=headers).answer().status == 200
        seen = play.wait()
        assert (seen.body, trap.accepted) == (body, 0)
        assert seen.target == query
    finally:
        trap.stop()


def test_the_error_reveals_nothing_of_the_body(daemon: Daemon) -> None:
    answer: Answer = daemon.post("/v1/chat/completions", b'{"model":"m","secret":"hunter2"')
    assert "hunter2" not in json.dumps(check_error(answer, 400))
