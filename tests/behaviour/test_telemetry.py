"""Contract §11: spans and metrics by OpenTelemetry's conventions, to a real receiver; if off, nothing is imported."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DaemonFactory
from tests.front.configurations import connection
from tests.harness.collector import Collector
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import DONE, delta, event, plain, stream
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = ("traceparent", f"00-{TRACE}-{PARENT}-01")
MESSAGES = [{"role": "user", "content": "how warm is it"}]
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "200"}
FAULT = Path(__file__).resolve().parents[1] / "mcp" / "fault_server.py"


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.close()


def conf(upstream: Upstream, collector: Collector | None, **telemetry: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"connections": {"main": connection(upstream.url)}}
    if collector is not None:
        found["telemetry"] = {"endpoint": collector.url, **telemetry}
    return found


def chat(daemon: Daemon, model: str, *fields: tuple[str, str], **more: Any) -> Any:
    body = {"model": model, "messages": MESSAGES, **more}
    return daemon.post("/v1/chat/completions", json.dumps(body).encode(), headers=list(fields))


def completion(message: dict[str, Any], finish: str = "stop") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}
    document = {"id": "chatcmpl-1", "object": "chat.completion", "model": "m-1", "choices": [choice], "usage": usage}
    return plain(json.dumps(document).encode())


def test_a_request_and_its_attempt(upstream: Upstream, collector: Collector, make_daemon: DaemonFactory) -> None:
    play = upstream.play(completion({"content": "twenty degrees"}))
    daemon = make_daemon(conf(upstream, collector), env=SOON)
    assert chat(daemon, play.model, TRACEPARENT, ("tracestate", "a=b")).status == 200
    server, client = collector.wait(2)
    assert (server.kind, server.name, server.trace, server.parent) == ("server", "POST chat", TRACE, PARENT)
    assert (client.kind, client.name, client.trace, client.parent) == ("client", f"chat {play.model}", TRACE, server.id)
    assert server.service == "openai-proxy"
    about = client.attributes
    assert about["gen_ai.operation.name"] == "chat"
    assert about["gen_ai.provider.name"] == "openai"
    assert about["gen_ai.request.model"] == play.model
    assert about["gen_ai.response.model"] == "m-1"
    assert about["gen_ai.response.id"] == "chatcmpl-1"
    assert about["gen_ai.response.finish_reasons"] == ["stop"]
    assert (about["gen_ai.usage.input_tokens"], about["gen_ai.usage.output_tokens"]) == (12, 5)
    assert about["server.address"] == "127.0.0.1"
    assert server.attributes["http.response.status_code"] == 200
    assert client.begins >= server.begins
    assert client.ends <= server.ends + 1_000_000
    (seen,) = play.requests
    assert seen.header("traceparent") == f"00-{TRACE}-{client.id}-01", (
        "the upstream gets the attempt's span as its parent"
    )
    assert seen.header("tracestate") == "a=b"
    assert not any("twenty degrees" in str(span) or "how warm" in str(span) for span in collector.spans)
    eventually(lambda: "gen_ai.client.token.usage" in collector.metrics, "the metrics have arrived")
    tokens = {point["gen_ai.token.type"]: point["sum"] for point in collector.metrics["gen_ai.client.token.usage"]}
    assert tokens == {"input": 12, "output": 5}
    (duration,) = collector.metrics["gen_ai.client.operation.duration"]
    assert (duration["count"], duration["gen_ai.request.model"]) == (1, play.model)
    assert "http.server.request.duration" in collector.metrics


def test_a_stream_and_content_on_demand(upstream: Upstream, collector: Collector, make_daemon: DaemonFactory) -> None:
    usage = event({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [],
                   "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}})  # fmt: skip
    play = upstream.play(stream(delta("twenty "), delta("degrees"), delta("", finish="stop"), usage, DONE))
    daemon = make_daemon(conf(upstream, collector, content=True), env=SOON)
    messages = [{"role": "user", "content": f"how warm is it, {CANARY}"}]
    assert chat(daemon, play.model, stream=True, messages=messages).status == 200
    _, client = collector.wait(2)
    assert client.attributes["gen_ai.usage.output_tokens"] == 3
    (asked,) = json.loads(client.attributes["gen_ai.input.messages"])
    assert asked["role"] == "user"
    assert asked["parts"][0]["content"].startswith("how warm is it")
    (answer,) = json.loads(client.attributes["gen_ai.output.messages"])
    assert answer == {"role": "assistant", "parts": [{"type": "text", "content": "twenty degrees"}],
                      "finish_reason": "stop"}  # fmt: skip
    assert CANARY not in str(collector.spans)


def test_each_failed_attempt_is_a_span(upstream: Upstream, collector: Collector, make_daemon: DaemonFactory) -> None:
    broken = upstream.play(plain(b'{"error": {"message": "busy"}}', "503 Service Unavailable"))
    sound = upstream.play(completion({"content": "fine"}))
    configuration = conf(upstream, collector)
    configuration["connections"]["main"]["max_retries"] = 0
    configuration["routing"] = {"fast": [f"main.{broken.model}", f"main.{sound.model}"]}
    daemon = make_daemon(configuration, env=SOON)
    assert chat(daemon, "fast").status == 200
    server, first, second = collector.wait(3)
    assert (first.failed, first.attributes["error.type"]) == (True, "503")
    assert (second.failed, second.parent, first.parent) == (False, server.id, server.id)
    told = [str(seen.header("traceparent")) for play in (broken, sound) for seen in play.requests]
    assert [text.rpartition("-")[0] for text in told] == [f"00-{server.trace}-{span.id}" for span in (first, second)]


def test_calls_of_our_tools_are_spans(upstream: Upstream, collector: Collector, make_daemon: DaemonFactory) -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "mcp_fault_meta", "arguments": "{}"}}
    sums = {"id": "t2", "type": "function", "function": {"name": "calculator", "arguments": '{"expression": "1/0"}'}}
    rounds = upstream.rounds(
        completion({"content": None, "tool_calls": [call, sums]}, "tool_calls"), completion({"content": "done"})
    )
    files = {
        "models/home.yaml": f"name: augmented/home\nupstream_model: {rounds.model}\ntools: [calculator]\n"
        "mcp_servers: [fault]\n",
        "mcp/servers.yaml": json.dumps(
            {"servers": {"fault": {"command": sys.executable, "args": [str(FAULT), "meta"]}}}
        ),
    }
    daemon = make_daemon(conf(upstream, collector, content=True), files=files, env=SOON)
    assert chat(daemon, "augmented/home", TRACEPARENT).status == 200
    spans = collector.wait(5)
    server = next(span for span in spans if span.kind == "server")
    assert server.attributes["gen_ai.request.model"] == "augmented/home"
    assert server.attributes["gen_ai.usage.input_tokens"] == 24
    tools = {span.attributes["gen_ai.tool.name"]: span for span in spans if "gen_ai.tool.name" in span.attributes}
    remote, local = tools["mcp_fault_meta"], tools["calculator"]
    assert (remote.name, remote.kind, remote.parent) == ("execute_tool mcp_fault_meta", "client", server.id)
    assert remote.attributes["mcp.method.name"] == "tools/call"
    assert remote.attributes["gen_ai.tool.call.id"] == "t1"
    assert (local.kind, local.failed) == ("internal", True)
    rounds_asked = [span for span in spans if span.name.startswith("chat ")]
    assert [span.attributes["gen_ai.usage.input_tokens"] for span in rounds_asked] == [12, 12]
    assert rounds_asked[0].ends <= remote.begins + 50_000_000
    result = rounds.bodies()[1]["messages"][-2]["content"]
    assert json.loads(result)["traceparent"] == f"00-{TRACE}-{remote.id}-01"


def test_an_error_of_ours_and_a_client_that_disconnects(
    upstream: Upstream, collector: Collector, make_daemon: DaemonFactory
) -> None:
    configuration = conf(upstream, collector)
    configuration["groups"] = {"few": {"api_keys": ["sk-few-0123456789"], "allowed_models": ["nothing"]}}
    never = upstream.play(upstream.gate())
    daemon = make_daemon(configuration, env=SOON)
    key = ("Authorization", "Bearer sk-few-0123456789")
    assert chat(daemon, "x", key).status == 404
    (refused,) = collector.wait(1)
    assert refused.attributes["error.type"] == "model_not_found"
    assert refused.attributes["openai_proxy.group"] == "few"
    daemon.write("proxy.yaml", conf(upstream, collector))
    eventually(lambda: daemon.get("/v1/models").status == 200, "the edit is in effect, and no key is needed")
    with daemon.wire() as gone:
        gone.chat(never.model)
        never.begun()
    server = next(span for span in eventually(lambda: _named(collector, "POST chat", 2), "the spans have arrived")[1:])
    assert not server.failed


def _named(collector: Collector, name: str, number: int) -> Any:
    found = [span for span in collector.spans if span.name == name]
    return found if len(found) >= number else None


def test_the_standard_variables_are_obeyed(
    upstream: Upstream, collector: Collector, make_daemon: DaemonFactory
) -> None:
    env = {
        **SOON,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-token=abc",
        "OTEL_SERVICE_NAME": "house",
        "OTEL_METRICS_EXPORTER": "none",
    }
    daemon = make_daemon(conf(upstream, None), env=env)
    assert chat(daemon, "x").status == 200
    assert {span.service for span in collector.wait(2)} == {"house"}
    assert collector.headers[0]["x-token"] == "abc"
    daemon.stop()
    assert {headers["path"] for headers in collector.headers} == {"/v1/traces"}


def test_an_unsampled_trace_is_propagated_but_not_exported(
    upstream: Upstream, collector: Collector, make_daemon: DaemonFactory
) -> None:
    play = upstream.play(completion({"content": "fine"}))
    daemon = make_daemon(conf(upstream, collector), env={**SOON, "OTEL_TRACES_SAMPLER": "always_off"})
    assert chat(daemon, play.model, TRACEPARENT).status == 200
    daemon.stop()
    assert collector.spans == []
    header = play.requests[0].header("traceparent")
    assert header is not None
    assert header.startswith(f"00-{TRACE}-")
    assert header.endswith("-00")


def test_the_shutdown_sends_pending_spans(upstream: Upstream, collector: Collector, make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(
        conf(upstream, collector, headers={"x-token": "abc"}), env={"OTEL_BSP_SCHEDULE_DELAY": "60000"}
    )
    assert chat(daemon, "x").status == 200
    daemon.stop()
    assert len(collector.spans) == 2
    assert "gen_ai.client.token.usage" in collector.metrics
    assert all(headers["x-token"] == "abc" for headers in collector.headers)


def test_a_collector_that_hangs_costs_no_request(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    collector = Collector(hang=True)
    try:
        daemon = make_daemon(conf(upstream, collector), env=SOON)
        assert chat(daemon, "x").status == 200
        assert collector.begun.wait(20)
        assert {chat(daemon, "x").status for _ in range(20)} == {200}
        daemon.stop()
    finally:
        collector.close()


def test_an_unreachable_collector_and_an_edit_that_turns_it_off(
    upstream: Upstream, collector: Collector, make_daemon: DaemonFactory
) -> None:
    away = conf(upstream, collector)
    away["telemetry"]["endpoint"] = "http://127.0.0.1:9"
    daemon = make_daemon(away, env=SOON)
    assert chat(daemon, "x").status == 200
    daemon.write("proxy.yaml", conf(upstream, collector))
    eventually(lambda: chat(daemon, "x").status == 200 and collector.spans, "the edit is in effect")
    daemon.write("proxy.yaml", conf(upstream, None))
    eventually(lambda: daemon.generation() >= 3, "telemetry is off")
    play = upstream.play(completion({"content": "fine"}))
    assert chat(daemon, play.model, TRACEPARENT).status == 200
    assert play.requests[0].header("traceparent") == TRACEPARENT[1], (
        "the client's own header passes while telemetry is off"
    )
    daemon.stop()
    assert TRACE not in {span.trace for span in collector.spans}


def test_nothing_is_imported_if_off(upstream: Upstream, make_daemon: DaemonFactory, tmp_path: Path) -> None:
    daemon = make_daemon(conf(upstream, None))
    assert chat(daemon, "x").status == 200
    maps = Path(f"/proc/{daemon.process.pid}/maps").read_text()
    assert "google/_upb" not in maps, "protobuf is loaded"


@pytest.mark.parametrize("endpoint", ["collector:4318", "ftp://x", "http://x?y=1", "http://"])
def test_an_invalid_endpoint_is_a_problem(endpoint: str, upstream: Upstream, make_daemon: DaemonFactory) -> None:
    daemon = make_daemon({**conf(upstream, None), "telemetry": {"endpoint": endpoint}}, start=False)
    daemon.port = 0
    daemon.launch()
    assert daemon.exit_code() == 1
    assert "expected the base URL of a collector" in daemon.stderr


def test_a_call_at_mcp(upstream: Upstream, collector: Collector, make_daemon: DaemonFactory) -> None:
    servers = {"servers": {"fault": {"command": sys.executable, "args": [str(FAULT), "meta"]}}}
    daemon = make_daemon(conf(upstream, collector), files={"mcp/servers.yaml": json.dumps(servers)}, env=SOON)
    eventually(lambda: daemon.get("/admin/status").json()["mcp_servers"][0]["state"] == "ready", "the server is ready")
    params = {"name": "mcp_fault_meta", "arguments": {}, "_meta": {"traceparent": TRACEPARENT[1]}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    fields = [("accept", "application/json, text/event-stream"), ("mcp-protocol-version", "2025-11-25")]
    answer = daemon.post("/mcp", body, headers=fields)
    assert answer.status == 200, answer.body
    server, tool = collector.wait(2)
    assert (server.kind, server.name, server.trace, server.parent) == ("server", "POST mcp", TRACE, PARENT)
    assert (tool.name, tool.kind, tool.parent) == ("execute_tool mcp_fault_meta", "client", server.id)
    assert f"00-{TRACE}-{tool.id}-01".encode() in answer.body
