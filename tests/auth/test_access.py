"""What a group may use, and what it sees."""

from tests.auth.test_access_of_groups import ask, conf
from tests.conftest import DaemonFactory
from tests.front.configurations import connection
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

GROUPS = {
    "all": {"api_keys": ["sk-all"]},
    "small": {"api_keys": ["sk-small"], "allowed_models": ["m-*", "helper"]},
    "other": {"api_keys": ["sk-other"], "allowed_connections": "other"},
}
HELPER = "name: helper\nupstream_model: m-small\n"


def listed(daemon: Daemon, key: str) -> set[str]:
    answer = daemon.get("/v1/models", headers=[("Authorization", f"Bearer {key}")])
    return {model["id"] for model in answer.json()["data"]}


def test_everyone_sees_the_models_that_they_may_use(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    configuration = conf(upstream, groups=GROUPS, routing={"vendor/*": "other.*"}, default_connection="main")
    configuration["connections"]["other"] = connection(upstream.url)
    daemon = make_daemon(configuration, files={"models/helper.yaml": HELPER})
    everything = {"helper", "m-small", "vendor/m-large", "vendor/deep/name:free"}
    eventually(lambda: listed(daemon, "sk-all") == everything, "the upstreams' models are listed")
    assert listed(daemon, "sk-small") == {"helper", "m-small"}
    assert listed(daemon, "sk-other") == {"vendor/m-large", "vendor/deep/name:free"}
    for key in ("sk-all", "sk-small", "sk-other"):
        for model in everything:
            wanted = 200 if model in listed(daemon, key) else 404
            assert ask(daemon, key, model).status == wanted
    forbidden = ask(daemon, "sk-small", "vendor/m-large").body.replace(b"vendor/m-large", b"X")
    assert forbidden == ask(daemon, "sk-small", "no-such-model").body.replace(b"no-such-model", b"X")
    assert ask(daemon, "sk-other", "main:m-small").status == 404


def test_ids_may_include_their_connection(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(conf(upstream, model_listing_prefix=True, groups={"all": {"api_keys": ["sk-all"]}}))
    wanted = {"main:m-small", "main:vendor/m-large", "main:vendor/deep/name:free"}
    eventually(lambda: listed(daemon, "sk-all") == wanted, "the upstream's models are listed")
    assert all(ask(daemon, "sk-all", model).status == 200 for model in wanted)


def test_other_listing_modes(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    configuration = conf(
        upstream, routing={"fast": "main.m-small", "gpt-*": "main.*"}, groups={"a": {"api_keys": ["sk-all"]}}
    )
    daemon = make_daemon({**configuration, "model_listing_mode": "as_is"})
    assert listed(daemon, "sk-all") == {"fast", "gpt-*", "*"}
    daemon = make_daemon({**configuration, "model_listing_mode": "ignore_wildcards"})
    assert listed(daemon, "sk-all") == {"fast"}
