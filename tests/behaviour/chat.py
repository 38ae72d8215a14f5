"""A person who talks to the daemon through the real `openai` client."""

from typing import Any, ClassVar

import httpx
import openai

from openai_proxy.cli.control import CONTROL
from tests.harness.daemon import Daemon


class Chat:
    """A conversation as a client keeps it: each question is sent with everything said before."""

    address = "127.0.0.1"
    """The person's address. Sessions are bound to it, so another address is another person."""
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
