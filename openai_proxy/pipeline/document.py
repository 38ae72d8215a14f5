"""A request's JSON body, parsed once. Slow work on a large one is done off the event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from openai_proxy.dialects import json_text
from openai_proxy.dialects.foreign_thoughts import hinted, without_foreign
from openai_proxy.exchange import Target, UpstreamRequest
from openai_proxy.protocols.json_members import LARGE, Member, parse_object
from openai_proxy.tasks import in_thread
from openai_proxy.transforms.params import Rules, shape


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON body: `raw` as received, `plain` the same without content coding, and its `members`."""

    plain: bytes
    members: dict[str, Any]
    raw: bytes
    places: list[Member] | None = None  # of the members in `plain`, if known

    @property
    def large(self) -> bool:
        """True if it is too large to be processed on the event loop."""
        return len(self.plain) >= LARGE

    def exact(self) -> dict[str, Any]:
        """`members` with exact numbers."""
        return self.members if self.large else json_text.with_exact_numbers(self.members, self.plain)

    def shaped(self, rules: Rules, dialect: str, model: str | None) -> bytes:
        """The body for a provider with this `dialect`, where the model is called `model` (None: as the client does);
        `raw` if nothing changes.
        """
        edits = shape(self.members, rules, dialect)
        if hinted(self.plain, dialect):
            edits.replace |= without_foreign({**self.exact(), **edits.replace}, dialect)
        if model is not None:
            edits.replace["model"] = model
        return edits.edited(self.plain, self.places) if edits else self.raw


async def prepared(
    make: Callable[[Target], UpstreamRequest], targets: Iterable[Target], *, large: bool
) -> Callable[[Target], UpstreamRequest]:
    """`make`, or a version that builds its requests off the event loop, if the body is `large`."""
    if not large:
        return make
    return {target: await in_thread(make, target) for target in targets}.__getitem__


async def read_document(plain: bytes, raw: bytes | None = None) -> Document:
    """The document in `plain`, received as `raw` if that differs. Raises BadRequest, TooLarge."""
    if len(plain) < LARGE:
        return Document(plain, parse_object(plain), plain if raw is None else raw)
    from openai_proxy.protocols.large_json import read_object

    members, places = await in_thread(read_object, plain)
    return Document(plain, members, plain if raw is None else raw, places)
