"""A person who talks to the daemon through the real `openai` client."""

from typing import Any, ClassVar

import httpx
import openai

from openai_proxy.cli.control import CONTROL
from tests.harness.daemon import Daemon
from tests.harness.scripts import Seen
from tests.harness.upstream import Upstream


class Chat:
    """A conversation as a client keeps it: each question is sent with everything said before."""

    address = "127.0.0.1"
    """The person's address. Sessions are bound to an address, so another address means another person."""
    clients: ClassVar[list[openai.OpenAI]] = []

    def __init__(self, daemon: Daemon, model: str, *, stream: bool = False, **options: Any) -> None:
        self.client = openai.OpenAI(
            base_url=daemon.url,
            api_key=options.pop("key", "none"),
            max_retries=0,
            http_client=httpx.Client(transport=self._transport(daemon, options.pop("owner", False))),
        )
        self.clients.append(self.client)
        self.model = model
        self.messages: list[Any] = []
        self.stream = stream
        self.options = options
        self.answered_model = ""

    def _transport(self, daemon: Daemon, owner: bool) -> httpx.HTTPTransport:
        """The owner uses the control socket, as `openai-proxy chat` does; everybody else uses TCP."""
        if owner:
            return httpx.HTTPTransport(uds=str(daemon.state_dir / CONTROL))
        return httpx.HTTPTransport(local_address=self.address)

    def say(self, text: Any) -> str:
        self.messages.append({"role": "user", "content": text})
        answer = self._ask()
        self.messages.append({"role": "assistant", "content": answer})
        return answer

    def _ask(self) -> str:
        request: dict[str, Any] = {"model": self.model, "messages": self.messages, **self.options}
        if not self.stream:
            whole = self.client.chat.completions.create(**request)
            self.answered_model = whole.model
            return str(whole.choices[0].message.content)
        pieces = []
        for chunk in self.client.chat.completions.create(stream=True, **request):
            self.answered_model = chunk.model
            pieces += [choice.delta.content or "" for choice in chunk.choices]
        return "".join(pieces)


class Sent:
    """The chat requests that reached the upstream, newest last, without the daemon's own requests for model lists."""

    def __init__(self, upstream: Upstream) -> None:
        self._all = upstream.unclaimed

    @property
    def _questions(self) -> list[Seen]:
        return [seen for seen in self._all if seen.method == "POST"]

    def __getitem__(self, index: int) -> Seen:
        return self._questions[index]

    def __len__(self) -> int:
        return len(self._questions)


def where(request: Seen) -> tuple[str | None, str]:
    """The connection and the model of a request."""
    return request.header("x-connection"), request.json()["model"]


def texts(request: Seen) -> list[str]:
    return [message["content"] for message in request.json()["messages"]]
