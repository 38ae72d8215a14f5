"""Answers of the Responses API, and conversations, stored for the next request of the same caller.

Items are stored as JSON bytes, so that a chain of answers shares common ones. All keys include the caller: another
caller's answer cannot even be named. Lives as long as the process; `dump` and `load` preserve it over a restart.
Daemons that share state each hold what they created, and fetch the rest on request (`bring`).
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import orjson

from openai_proxy.bounded_map import MAX_BYTES, MAX_ENTRIES, TTL, BoundedMap
from openai_proxy.dialects import json_text
from openai_proxy.store.shared import Shared, SharedTable

MAX_CONVERSATION_ITEMS: Final = 20_000
MAX_DUMP: Final = 16 * 1024 * 1024
"""Bytes preserved over a restart: the newest."""

log = logging.getLogger(__name__)
_PREFIXES: Final = {"function_call": "fc", "function_call_output": "fco", "reasoning": "rs", "custom_tool_call": "ctc",
                    "custom_tool_call_output": "ctco"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """One answer: the whole input that led to it, and the response object with its output."""

    input: tuple[bytes, ...]
    response: bytes
    output: tuple[bytes, ...]

    def document(self) -> dict[str, Any]:
        """The response object."""
        document: dict[str, Any] = json_text.loads(self.response)
        return document

    def input_items(self) -> list[dict[str, Any]]:
        """The input of the answer."""
        return [json_text.loads(item) for item in self.input]

    def items(self) -> list[dict[str, Any]]:
        """Input and output of the answer: the beginning of the next request."""
        return [json_text.loads(item) for item in (*self.input, *self.output)]


@dataclass(slots=True)
class StoredConversation:
    """Items under a name, to which answers are added."""

    id: str
    created_at: int
    metadata: dict[str, Any] = field(default_factory=dict)
    items: dict[str, bytes] = field(default_factory=dict)  # by their ids, in order
    size: int = 0

    def document(self) -> dict[str, Any]:
        """The conversation object."""
        return {"id": self.id, "object": "conversation", "created_at": self.created_at, "metadata": self.metadata}

    def all_items(self) -> list[dict[str, Any]]:
        """Every item, in order."""
        return [json_text.loads(item) for item in self.items.values()]


class EncodedItems(tuple[bytes, ...]):
    """Items in stored form."""

    __slots__ = ()


def encoded(items: Iterable[dict[str, Any]], large: bool = False) -> EncodedItems:
    """`items` in stored form, each with an id. Has no side effects, so it is thread-safe.

    `large` ones are processed in small steps.
    """
    return EncodedItems(json_text.dumps(with_id(item), large=large) for item in items)


class ResponseStore:
    """Answers by id, items by id, conversations by id; each belongs to one caller."""

    def __init__(
        self,
        *,
        ttl: float = TTL,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._responses: BoundedMap[StoredResponse] = BoundedMap(
            ttl=ttl, max_entries=max_entries, max_bytes=max_bytes // 2, clock=clock, removed=self._forget_items
        )
        self._conversations: BoundedMap[StoredConversation] = BoundedMap(
            ttl=ttl, max_entries=max_entries, max_bytes=max_bytes // 2, clock=clock
        )
        self._shared: dict[str, SharedTable] = {}
        self.changes = 0  # counted, so that nothing is saved twice
        self._items: dict[tuple[str, str], bytes] = {}  # (owner, id of an item) -> the item, while its answer is stored

    @property
    def ttl(self) -> float:
        """Seconds after which unused data are dropped."""
        return self._responses.ttl

    @ttl.setter
    def ttl(self, seconds: float) -> None:
        self._responses.ttl = self._conversations.ttl = seconds

    @property
    def size(self) -> int:
        """Bytes stored. What several answers of a chain share is counted for each of them."""
        return self._responses.size + self._conversations.size

    def keep(self, caller: str, items: Iterable[dict[str, Any]] | EncodedItems, response: dict[str, Any]) -> None:
        """Store an answer and all `items` that led to it. One that alone is too large is not stored."""
        self.keeping(caller, items, response)()

    def keeping(
        self, caller: str, items: Iterable[dict[str, Any]] | EncodedItems, response: dict[str, Any]
    ) -> Callable[[], None]:
        """A function that does the same on the event loop; creating it is most of the work, and is thread-safe."""
        if _heavier(response["output"], self._responses.max_bytes // 2):
            return lambda: None  # avoids encoding megabytes in vain
        given = items if isinstance(items, EncodedItems) else encoded(items)
        output = tuple(_encoded(item) for item in response["output"])
        owner, name = _owner(caller), response["id"]
        stored = StoredResponse(given, _encoded(response), output)
        ids = [item["id"] for item in response["output"]]

        def keep() -> None:
            self._put(owner, name, stored, ids)
            self._publish("responses", owner, name)
            for item_id in ids:
                self._publish("items", owner, item_id)

        return keep

    def _put(
        self, owner: str, response_id: str, stored: StoredResponse, ids: Iterable[str] | None = None, age: float = 0.0
    ) -> None:
        size = sum(map(len, stored.input)) + 2 * len(stored.response)
        if not self._responses.put((owner, response_id), stored, size, age=age):
            return
        self.changes += 1
        known = [json_text.loads(data)["id"] for data in stored.output] if ids is None else ids
        for item_id, data in zip(known, stored.output, strict=True):
            self._items[owner, item_id] = data

    def response(self, caller: str, response_id: str) -> StoredResponse | None:
        """An answer."""
        return self._responses.get((_owner(caller), response_id))

    def delete(self, caller: str, response_id: str) -> bool:
        """Delete an answer; False if there is none."""
        self.changes += 1
        owner = _owner(caller)
        stored = self._responses.pop((owner, response_id))
        if stored is None:
            return False
        self._publish("responses", owner, response_id)
        for data in stored.output:
            self._publish("items", owner, json_text.loads(data)["id"])
        return True

    def item(self, caller: str, item_id: str) -> dict[str, Any] | None:
        """An item of an answer's output."""
        data = self._items.get((_owner(caller), item_id))
        if data is None:
            return None
        item: dict[str, Any] = json_text.loads(data)
        return item

    def begin(
        self, caller: str, items: Iterable[dict[str, Any]], metadata: dict[str, Any] | None = None
    ) -> StoredConversation:
        """A new conversation."""
        made = StoredConversation(f"conv_{uuid.uuid4().hex}", int(time.time()), metadata or {})
        self._conversations.put((_owner(caller), made.id), made, 0)
        self.add(caller, made.id, items)
        return made

    def conversation(self, caller: str, conversation_id: str) -> StoredConversation | None:
        """A conversation."""
        return self._conversations.get((_owner(caller), conversation_id))

    def add(self, caller: str, conversation_id: str, items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Add items to a conversation; returns their stored form. The oldest are dropped if there are too many."""
        found = self._conversations.get((_owner(caller), conversation_id))
        if found is None:
            return []
        added = [with_id(item) for item in items]
        for item in added:
            found.items[item["id"]] = _encoded(item)
        while len(found.items) > MAX_CONVERSATION_ITEMS:
            del found.items[next(iter(found.items))]
        self._keep_conversation(_owner(caller), found)
        return added

    def remove(self, caller: str, conversation: StoredConversation, item_id: str) -> None:
        """Remove an item from a conversation."""
        conversation.items.pop(item_id, None)
        self._keep_conversation(_owner(caller), conversation)

    def end(self, caller: str, conversation_id: str) -> bool:
        """Delete a conversation; False if there is none."""
        self.changes += 1
        ended = self._conversations.pop((_owner(caller), conversation_id)) is not None
        if ended:
            self._publish("conversations", _owner(caller), conversation_id)
        return ended

    def describe(self, caller: str, conversation: StoredConversation, metadata: dict[str, Any]) -> None:
        """Replace a conversation's metadata."""
        self.changes += 1
        conversation.metadata = metadata
        self._publish("conversations", _owner(caller), conversation.id)

    def dump(self) -> dict[str, Any]:
        """The newest part of the state as JSON values, for a file of mode 0600: it contains conversations.

        What several answers of a chain share is written once. The callers cannot be recovered from it.
        """
        texts: dict[bytes, int] = {}
        size = 0
        entries: list[dict[str, Any]] = []
        for age, members, held in sorted(self._entries(), key=lambda entry: entry[0]):
            fresh = {text for texts_of in held.values() for text in texts_of if text not in texts}
            size += sum(map(len, fresh))
            if size > MAX_DUMP:
                break
            places = {
                name: [texts.setdefault(text, len(texts)) for text in texts_of] for name, texts_of in held.items()
            }
            entries.append({"age": age, **members, **places})
        return {"saved_at": time.time(), "texts": [orjson.Fragment(text) for text in texts], "entries": entries}

    def _entries(self) -> Iterator[tuple[float, dict[str, Any], dict[str, list[bytes]]]]:
        """(age, members, texts by what they are) of each answer and conversation."""
        for (owner, name), stored, age in self._responses.entries():
            held = {"input": [*stored.input], "response": [stored.response], "output": [*stored.output]}
            yield age, {"owner": owner, "id": name}, held
        for (owner, name), found, age in self._conversations.entries():
            members = {"owner": owner, "id": name, "created_at": found.created_at, "metadata": found.metadata}
            yield age, members, {"items": [*found.items.values()]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Load what `dump` returned, aged by the elapsed time. An unreadable state is ignored."""
        try:
            passed = max(0.0, time.time() - float(state["saved_at"]))
            texts = [json_text.dumps(text) for text in state["texts"]]
            for entry in sorted(state["entries"], key=lambda entry: -float(entry["age"])):
                self._take(entry, texts, float(entry["age"]) + passed)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            log.warning("the saved answers cannot be read; conversations continue without them")

    def _take(self, entry: Mapping[str, Any], texts: list[bytes], age: float) -> None:
        owner, name = str(entry["owner"]), str(entry["id"])
        if "items" in entry:
            items = {str(json_text.loads(texts[place])["id"]): texts[place] for place in entry["items"]}
            found = StoredConversation(name, int(entry["created_at"]), dict(entry["metadata"]), items)
            found.size = sum(map(len, items.values()))
            self._conversations.put((owner, name), found, found.size, age=age)
        else:
            given, output = (tuple(texts[place] for place in entry[which]) for which in ("input", "output"))
            self._put(owner, name, StoredResponse(given, texts[entry["response"][0]], output), age=age)

    def _keep_conversation(self, owner: str, found: StoredConversation) -> None:
        self.changes += 1
        found.size = sum(map(len, found.items.values()))
        self._conversations.put((owner, found.id), found, found.size)
        self._publish("conversations", owner, found.id)

    # -- shared with other daemons ----------------------------------------------------------------------------------

    def share(self, shared: Shared) -> None:
        """Let other daemons fetch what is stored here, and vice versa."""
        for name, read, take in (
            ("responses", self._read_response, self._take_response),
            ("conversations", self._read_conversation, self._take_conversation),
            ("items", self._read_item, self._take_item),
        ):
            self._shared[name] = shared.table(name, read=read, take=take, names=list, pushed=False)

    async def bring(
        self, caller: str, *, response: object = None, conversation: object = None, items: Iterable[object] = ()
    ) -> None:
        """Fetch what other daemons may have of these ids. A conversation may have grown there, an answer never does."""
        if not self._shared or not self._shared["responses"].live:
            return
        owner = _owner(caller)
        if isinstance(response, str) and self.response(caller, response) is None:
            await self._shared["responses"].fetch(_name(owner, response))
        if isinstance(conversation, str):
            await self._shared["conversations"].fetch(_name(owner, conversation))
        for item in items:
            if isinstance(item, str) and (owner, item) not in self._items:
                await self._shared["items"].fetch(_name(owner, item))

    def _publish(self, table: str, owner: str, name: str) -> None:
        if self._shared:
            self._shared[table].changed(_name(owner, name))

    def _read_response(self, name: str) -> tuple[Any, float] | None:
        stored = self._responses.get(_key(name))
        if stored is None:
            return None
        members = {"input": _fragments(stored.input), "output": _fragments(stored.output)}
        return {**members, "response": orjson.Fragment(stored.response)}, self.ttl

    def _take_response(self, name: str, value: Any) -> None:
        owner, own = _key(name)
        if value is None:
            self._responses.pop((owner, own))
            return
        given, output = (tuple(map(_encoded, value[members])) for members in ("input", "output"))
        self._put(owner, own, StoredResponse(given, _encoded(value["response"]), output))

    def _read_conversation(self, name: str) -> tuple[Any, float] | None:
        found = self._conversations.get(_key(name))
        if found is None:
            return None
        members = {"id": found.id, "created_at": found.created_at, "metadata": found.metadata}
        return {**members, "items": _fragments(found.items.values())}, self.ttl

    def _take_conversation(self, name: str, value: Any) -> None:
        if value is None:
            self._conversations.pop(_key(name))
            return
        items = {item["id"]: _encoded(item) for item in value["items"]}
        size = sum(map(len, items.values()))
        found = StoredConversation(value["id"], value["created_at"], value["metadata"], items, size)
        self._conversations.put(_key(name), found, size)

    def _read_item(self, name: str) -> tuple[Any, float] | None:
        data = self._items.get(_key(name))
        return None if data is None else (orjson.Fragment(data), self.ttl)

    def _take_item(self, name: str, value: Any) -> None:
        """A single item is requested now: it is kept with its answer."""
        if value is None:
            self._items.pop(_key(name), None)
        else:
            self._items[_key(name)] = _encoded(value)

    def _forget_items(self, key: tuple[str, str], stored: StoredResponse) -> None:
        for data in stored.output:
            self._items.pop((key[0], json_text.loads(data)["id"]), None)


def _heavier(value: Any, limit: int) -> bool:
    """True if the texts in `value` have more than `limit` characters."""
    waiting, size = [value], 0
    while waiting and size <= limit:
        one = waiting.pop()
        if isinstance(one, str):
            size += len(one)
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return size > limit


def _owner(caller: str) -> str:
    """The caller's identity in keys, from which it cannot be recovered."""
    return blake2b(caller.encode(errors="replace"), digest_size=16).hexdigest()


def with_id(item: dict[str, Any]) -> dict[str, Any]:
    """`item` with a new id if it has none."""
    if isinstance(item.get("id"), str):
        return item
    prefix = _PREFIXES.get(str(item.get("type")), "msg")
    return {"id": f"{prefix}_{uuid.uuid4().hex}", **item}


def _name(owner: str, name: str) -> str:
    return json_text.dumps([owner, name]).decode()


def _key(name: str) -> tuple[str, str]:
    owner, own = json_text.loads(name)
    return owner, own


def _fragments(items: Iterable[bytes]) -> list[orjson.Fragment]:
    return [orjson.Fragment(item) for item in items]


def _encoded(item: dict[str, Any]) -> bytes:
    return json_text.dumps(item)
