"""Building blocks for every file of conf/: the base model, and fields with clear error messages.

Values may come from the environment as text (`port: ${PORT}`), so numbers and booleans are also accepted as text; but
numbers and booleans are not interchangeable, and text fields accept only text.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

MAX_GLOB_STARS = 8  # fnmatch is safe, but each star multiplies its work
MAX_NAME = 256


class StrictModel(BaseModel):
    """Frozen, without unknown keys."""

    model_config = ConfigDict(
        extra="forbid", defer_build=True, frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )


def wrong(message: str) -> PydanticCustomError:
    """An error with `message` as its text, shown to the owner unchanged."""
    # pydantic_core's template language would interpret braces.
    return PydanticCustomError("wrong", "{words}", {"words": message})


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise wrong("expected a number, not true or false")
    return value


def _no_number(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise wrong("expected true or false, not a number")
    return value


Whole = Annotated[int, BeforeValidator(_no_truth)]
"""An integer."""
Positive = Annotated[Whole, Field(ge=1)]
Natural = Annotated[Whole, Field(ge=0)]
Number = Annotated[float, BeforeValidator(_no_truth)]
Seconds = Annotated[Number, Field(gt=0, le=86_400 * 365)]
"""A duration in seconds, greater than zero."""
Flag = Annotated[bool, BeforeValidator(_no_number)]
Priority = Literal["high", "normal", "low"]
"""Place in line if a connection serves few requests at a time."""
Port = Annotated[Whole, Field(ge=0, le=65_535)]


def one_or_many(value: Any) -> Any:
    """A single text as a list of one, split at commas."""
    if isinstance(value, str):
        return [part for part in (piece.strip() for piece in value.split(",")) if part]
    return value


_TEXT_OR_LIST = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})

Names = tuple[str, ...]
TextOrNames = Annotated[tuple[str, ...], BeforeValidator(one_or_many), _TEXT_OR_LIST]
"""A list of texts, or one text separated by commas."""


def glob_trouble(pattern: str) -> str | None:
    """What is wrong with a glob, or None."""
    if not pattern:
        return "an empty pattern matches nothing"
    if len(pattern) > MAX_NAME:
        return f"the pattern is longer than {MAX_NAME} characters"
    if pattern.count("*") > MAX_GLOB_STARS:
        return f"the pattern has more than {MAX_GLOB_STARS} stars"
    if pattern.count("[") != pattern.count("]"):
        return f'the pattern "{pattern}" has an unclosed bracket'
    return None


Patterns = TypeVar("Patterns", bound=Iterable[str])


def checked_globs(patterns: Patterns) -> Patterns:
    """`patterns`, or the names of a mapping, if all are globs."""
    for pattern in patterns:
        if (trouble := glob_trouble(pattern)) is not None:
            raise wrong(trouble)
    return patterns


Globs = Annotated[tuple[str, ...], BeforeValidator(one_or_many), AfterValidator(checked_globs), _TEXT_OR_LIST]
"""Globs (`*`, `?`, `[...]`), as a list or as one text separated by commas."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}\Z")  # RFC 9110 section 5.6.2
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*\Z")


def _headers(headers: dict[str, str]) -> dict[str, str]:
    seen: set[str] = set()
    for name, value in headers.items():
        if not _TOKEN.match(name):
            raise wrong(f'"{name[:60]}" cannot be used as the name of an HTTP header')
        if name.lower() in seen:
            raise wrong(f'duplicate header "{name}"')
        if not _FIELD_VALUE.match(value):
            raise wrong(f'the value of the header "{name}" holds a line break or control character')
        seen.add(name.lower())
    return headers


def source_text(value: Any) -> Any:
    """A number or boolean as the text that one would write: for fields that are text by nature (headers, variables)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def texts(value: Any) -> Any:
    """`source_text` for every member."""
    if isinstance(value, dict):
        return {key: source_text(member) for key, member in value.items()}
    return [source_text(member) for member in value] if isinstance(value, list) else value


_TEXT_MAP = WithJsonSchema({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}})
TextMap = Annotated[dict[str, str], BeforeValidator(texts), _TEXT_MAP]
Headers = Annotated[dict[str, str], BeforeValidator(texts), AfterValidator(_headers), _TEXT_MAP]
"""HTTP headers to add."""

_KEY = re.compile(r"[\x21-\x7e]+\Z")


def client_or_upstream_key(key: str) -> str:
    """`key` without outer whitespace (a secret file ends with a newline); raises if no header can carry it."""
    key = key.strip()
    if key and not _KEY.match(key):
        raise wrong(f"a key must be printable ASCII without spaces{_odd_character(key)}")
    return key


def _odd_character(text: str) -> str:
    """Says which character of `text` cannot be sent, without quoting the text: it may be a secret."""
    from openai_proxy.config.yaml_words import invisible

    odd = invisible(text)
    if odd is not None:
        return f"; this one contains {odd[1]}: copy it again"
    if not any(char.isspace() for char in text):
        return ""
    if text.lower().startswith("bearer "):
        return ": leave out the word Bearer"
    if text.startswith(("{{", "env:")):
        return ': write a variable as "${NAME}"'
    return "; this one contains a space" + (": is the next line indented too far?" if " - " in text else "")


HASHED_KEY = re.compile(r"sha256:[0-9a-f]{64}\Z")


def client_key(key: str) -> str:
    """A client's key in the form used for look-up: plain, or `sha256:` and 64 lower-case hex digits."""
    key = client_or_upstream_key(key)
    if not key:
        raise wrong("the key is empty")
    if key.lower().startswith("sha256:"):
        key = key.lower()
        if not HASHED_KEY.match(key):
            raise wrong("expected 64 hex digits after sha256: (`openai-proxy keys hash` prints them)")
    return key


Key = Annotated[str, AfterValidator(client_or_upstream_key)]


def http_url(url: str) -> str:
    """`url` without outer whitespace; raises unless it is http or https with a host and no password."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        port_is_wrong = parts.port == 0
    except ValueError:
        raise wrong("this is not a URL") from None
    if parts.scheme not in ("http", "https"):
        raise wrong("expected a URL that begins with http:// or https://")
    if re.search(r"\s", url):
        raise wrong("a URL has no spaces")
    if not parts.hostname or port_is_wrong or re.search(r"[\x00-\x1f\x7f\\]", url):
        raise wrong("expected a URL with a host name")
    if parts.username is not None or parts.password is not None:
        raise wrong("a URL here cannot carry a name or password: use a key or a header")
    return url


def _host(value: str) -> str:
    if value == "*":
        raise wrong("for every address write 0.0.0.0, or :: with IPv6")
    if re.fullmatch(r"[^:\[\]]+:\d+|\[.*\]:\d+", value):
        raise wrong("expected an address without a port, which belongs in `port`")
    if "/" in value or re.search(r"\s", value):
        raise wrong("expected an address or a host name, without http:// and without a path")
    return value


Host = Annotated[
    str, Field(min_length=1, max_length=253, json_schema_extra={"pattern": r"^[^\s/]+$"}), AfterValidator(_host)
]
"""An address to listen on."""


def without_nulls(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """`data` without those of `names` that are null: a key whose lines are all commented out counts as absent."""
    return {key: value for key, value in data.items() if value is not None or key not in names}


def matching(pattern: str, expected: str) -> AfterValidator:
    """Accepts texts that match `pattern` as a whole."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise wrong(f"expected {expected}")
        return value

    return AfterValidator(check)


DottedPath = Annotated[str, matching(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+", "a dotted path such as module.function")]
