"""A request's JSON body, read once. What takes long with a large one leaves the event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from openai_proxy.exchange import Target, UpstreamRequest
from openai_proxy.protocols.json_members import Member, edit, parse_object
from openai_proxy.protocols.large_json import LARGE, read_object
from openai_proxy.tasks import in_thread


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON body: `raw` as it goes on untouched, `plain` the same without content coding, and its `members`."""

    plain: bytes
    members: dict[str, Any]
    raw: bytes
    places: list[Member] | None = None  # of the members in `plain`, where that is known

    @property
    def large(self) -> bool:
        """True if no step that looks at all of it may be taken on the event loop."""
        return len(self.plain) >= LARGE

    def edited(self, replace: Mapping[str, bytes], remove: Iterable[str] = ()) -> bytes:
        """`plain` with these members replaced and removed; see `json_members.edit`."""
        return edit(self.plain, replace, remove, self.places)


async def prepared(
    make: Callable[[Target], UpstreamRequest], targets: Iterable[Target], *, large: bool
) -> Callable[[Target], UpstreamRequest]:
    """`make`, or what gives the requests it has made beside the event loop, where the body is `large`."""
    if not large:
        return make
    return {target: await in_thread(make, target) for target in targets}.__getitem__


async def read_document(plain: bytes, raw: bytes | None = None) -> Document:
    """The document in `plain`, which came as `raw` if that is something else. Raises BadRequest, TooLarge."""
    if len(plain) < LARGE:
        return Document(plain, parse_object(plain), plain if raw is None else raw)
    members, places = await in_thread(read_object, plain)
    return Document(plain, members, plain if raw is None else raw, places)
