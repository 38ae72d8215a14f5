"""The capabilities of one Anthropic model, from its entry in `/v1/models` and from its refusals.

Model names are not used: new ones appear every month, and any list of names is soon outdated. Entry (`max_tokens`,
`capabilities.thinking.types`, `capabilities.effort`):
https://docs.anthropic.com/en/api/models-list
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

DEFAULT_MAX_TOKENS: Final = 8192
"""Output limit if neither the request nor the model's entry sets one."""

_LEVELS: Final = ("low", "medium", "high", "xhigh", "max")
_FIELDS: Final = re.compile(r"\b(temperature|top_p|top_k|effort|adaptive|disabled|strict|display)\b")
_LIMIT: Final = re.compile(r"max_tokens: \d+ > (\d+)")
_BUDGET_MODEL: Final = re.compile(r"adaptive|thinking\.type|thinking: Input tag", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """None means that the model's entry does not say."""

    max_tokens: int | None = None
    adaptive: bool | None = None
    enabled: bool | None = None
    disabled: bool | None = None
    efforts: frozenset[str] | None = None
    structured_outputs: bool | None = None

    @property
    def samples(self) -> bool:
        """Whether to send temperature, top_p and top_k: models without `enabled` thinking refuse them."""
        return self.enabled is not False

    def effort(self, wanted: str) -> str:
        """The supported level nearest to `wanted`, preferably a higher one, so that nobody gets less than requested."""
        level = "low" if wanted == "minimal" else wanted
        if self.efforts is None or level in self.efforts or level not in _LEVELS or not self.efforts:
            return level
        at = _LEVELS.index(level)
        above = [known for known in _LEVELS[at:] if known in self.efforts]
        below = [known for known in _LEVELS[:at] if known in self.efforts]
        return above[0] if above else below[-1]


UNKNOWN: Final = Capabilities()


def read_capabilities(entry: Mapping[str, Any]) -> Capabilities:
    """The capabilities in one entry of the model list; missing or malformed ones are unknown."""
    listed = entry.get("capabilities")
    limit = entry.get("max_tokens")
    limit = limit if isinstance(limit, int) and limit > 0 else None
    if not isinstance(listed, dict):
        return Capabilities(max_tokens=limit)
    thinking = _member(listed, "thinking")
    types = _member(thinking, "types")
    none_at_all = thinking.get("supported") is False
    effort = listed.get("effort")
    efforts: frozenset[str] | None = None
    if isinstance(effort, dict):
        known = {level for level in _LEVELS if _supported(effort, level)}
        efforts = frozenset() if effort.get("supported") is False else frozenset(known)
    return Capabilities(
        max_tokens=limit,
        adaptive=False if none_at_all else _supported(types, "adaptive"),
        # A model without any thinking is an old one: it has no `enabled`, but supports sampling parameters.
        enabled=None if none_at_all else _supported(types, "enabled"),
        disabled=_supported(types, "disabled"),
        efforts=efforts,
        structured_outputs=_supported(listed, "structured_outputs"),
    )


def _member(parent: dict[str, Any], name: str) -> dict[str, Any]:
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def _supported(parent: dict[str, Any], name: str) -> bool | None:
    value = _member(parent, name).get("supported")
    return value if isinstance(value, bool) else None


def learn_refused(message: str, body: dict[str, Any]) -> frozenset[str]:
    """Which of our derived members a 400's `message` refuses, among those in the Messages `body`.

    Returns names of `strip` (request.py): `temperature`, `top_p`, `top_k`, `effort`, `adaptive`, `disabled`, `strict`,
    `display`. Empty: the refusal is for the caller to handle.
    """
    thinking = _member(body, "thinking")
    present: set[str] = {name for name in ("temperature", "top_p", "top_k") if name in body}
    if "effort" in _member(body, "output_config"):
        present.add("effort")
    if thinking.get("type") in ("adaptive", "disabled"):
        present.add(thinking["type"])
    if "display" in thinking:
        present.add("display")
    if any(isinstance(tool, dict) and "strict" in tool for tool in body.get("tools") or ()):
        present.add("strict")
    named = set(_FIELDS.findall(message)) & present
    if not named and "adaptive" in present and _BUDGET_MODEL.search(message):
        named = {"adaptive"}
    return frozenset(named)


def learn_limit(message: str) -> int | None:
    """The model's output limit, from a 400 that says `max_tokens: 8192 > 4096, which is the maximum allowed …`."""
    found = _LIMIT.search(message)
    return int(found[1]) if found is not None else None
