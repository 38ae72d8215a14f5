"""Links, citations, addresses and tags within a line. The rules of `inline` apply here, too."""

import re
from typing import Final

from openai_proxy.transforms.speech.inline import MAX_HELD, MORE, SENTENCE_END, Inline
from openai_proxy.transforms.speech.writer import PICTURE, SpeechWriter

_MAX_TARGET: Final = 300

_ADDRESS: Final = re.compile(r"[^\s<>()\"“”„«»`|\[\]。，、；！？…\u3000-\u9fff\uac00-\ud7af\uff00-\uffef]+")
_ADDRESS_TAIL: Final = ".,;:!?'*_~’"
_SCHEME: Final = re.compile(r"[hH]ttps?://")
_CITED: Final = re.compile(
    r"\^[^\]\s]{1,40}"
    r"|[1-9]\d{0,2}(?:\s?[,;–-]\s?[1-9]\d{0,2})*"
    r"|(?:citation|cite|sources?|ref|oaicite)[:\s_#-]{1,2}\d[\d,\s]*"
    r"|\d+(?::\d+)?†[^\]]*"
)
_OPERATORS: Final = frozenset("=<>≤≥≈≠∈∉⊂∪∩+−*/^")

_SCHEME_OF_TARGET: Final = re.compile(r"\(\s*<?(?:https?|ftp|file|data|mailto|tel):", re.IGNORECASE)
_TARGET: Final = re.compile(
    r"\(\s*(?:<[^<>\n]*>|(?:[^\s()<]|\([^\s()]*\))(?:[^\s()]|\([^\s()]*\))*)?"
    r"(?:\s+(?:\"[^\"\n]*\"|'[^'\n]*'))?\s*\)"
)
_TARGET_SO_FAR: Final = re.compile(
    r"\(\s*(?:<[^<>\n]*>?|(?:[^\s()<]|\([^\s()]*\)?)(?:[^\s()]|\([^\s()]*\))*(?:\([^\s()]*)?)?"
    r"(?:\s+(?:\"[^\"\n]*\"?|'[^'\n]*'?)?)?\s*\Z"
)
_IN_TARGET: Final = re.compile(r"[^()\n]*")
_REFERENCE: Final = re.compile(r"\[[^\[\]\n]{0,80}\]")
_REFERENCE_SO_FAR: Final = re.compile(r"\[[^\[\]\n]{0,80}\Z")
_DEFINED: Final = ("<", "http://", "https://", "#", "/", "mailto:")
_LEFT_OVER: Final = re.compile(r"\]\(\s*<?(?:https?|ftp|file|data|mailto|tel):", re.IGNORECASE)
_LEFT_OVER_SO_FAR: Final = re.compile(r"\](?:\(\s*<?[a-z]{0,6}\Z|\Z)", re.IGNORECASE)

_DAGGER: Final = re.compile(r"【\d+(?::\d+)?†[^】\n]{0,100}】")
_DAGGER_SO_FAR: Final = re.compile(r"【(?:\d+(?::\d*)?(?:†[^】\n]{0,100})?)?\Z")
_CITE_MARK: Final = re.compile("\ue200[^\ue201\n]{0,200}\ue201")
_CITE_MARK_SO_FAR: Final = re.compile("\ue200[^\ue201\n]{0,200}\\Z")

_NAMES: Final = (
    "a|abbr|b|blockquote|br|center|cite|code|dd|del|details|div|dl|dt|em|figure|font|h[1-6]|hr|i|img|ins|kbd|li|mark|ol|"
    "p|pre|q|s|samp|small|span|strike|strong|sub|summary|sup|table|tbody|td|tfoot|th|thead|tr|tt|u|ul|var|"
    "think|thinking|thought|reasoning|reflection"
)
_ATTRIBUTES: Final = r"(?:\s+[\w:-]+\s*=\s*(?:\"[^\"<>\n]*\"|'[^'<>\n]*'|[^\s\"'<>]+))*"
_TAG: Final = re.compile(rf"</?(?P<name>{_NAMES}){_ATTRIBUTES}\s*/?>", re.IGNORECASE)
_TAG_SO_FAR: Final = re.compile(
    rf"</?(?:[a-z0-9]*|(?:{_NAMES}){_ATTRIBUTES}"
    r"(?:\s+(?:[\w:-]+\s*(?:=\s*(?:\"[^\"<>\n]*|'[^'<>\n]*|[^\s\"'<>]*)?)?)?)?\s*/?)\Z",
    re.IGNORECASE,
)
_BREAKS: Final = re.compile(
    r"blockquote|br|dd|div|dl|dt|h[1-6]|hr|li|ol|p|reasoning|reflection|table|td|th|think|thinking|thought|tr|ul",
    re.IGNORECASE,
)
_IN_ANGLES_SO_FAR: Final = re.compile(r"<[A-Za-z][^\s<>]*\Z")
_AUTOLINK: Final = re.compile(r"<[A-Za-z][A-Za-z0-9+.-]{1,31}:[^\s<>]*>")
_MAIL: Final = re.compile(r"<(?:mailto:)?([^\s<>@:]+@[^\s<>@]+)>")


def bracket(inline: Inline, text: str, at: int, final: bool) -> int:
    """`[text](address)` and `[text][name]` keep the text; `[1]` and `[^1]` are citations; other brackets stay."""
    writer = inline.writer
    close = _closing(text, at, final)
    if close == MORE:
        return MORE
    if not close:
        writer.write("[")
        return at + 1
    after = close + 1
    if after == len(text) and not final:
        return MORE
    inner, following = text[at + 1 : close], text[after : after + 1]
    if following == "(":
        if (end := _link(inline, text, after, inner, final)) != 0:
            return end
    elif following == "[" and not _CITED.fullmatch(inner) and not _is_index(writer.before):
        if (name := _REFERENCE.match(text, after)) is not None:
            _speak(inline, inner)
            return name.end()
        if not final and _REFERENCE_SO_FAR.match(text, after) is not None:
            return MORE
    elif following == ":" and writer.empty and not writer.gap.strip():
        return _definition(inline, text, at, after, final)
    if (_CITED.fullmatch(inner) and not _in_formula(writer)) or _SCHEME.match(inner):
        writer.remove()
        return after
    writer.write("[")
    return at + 1


def _closing(text: str, at: int, final: bool) -> int:
    """Where the bracket at `at` closes; 0 if it does not within its sentence, MORE while that is unknown."""
    if text.find("]", at, at + MAX_HELD) < 0 and (final or len(text) >= at + MAX_HELD):
        return 0  # so that a text of opening brackets only is not scanned again from each of them
    sentence = SENTENCE_END.search(text, at + 1, at + MAX_HELD)
    limit = sentence.end() if sentence is not None else min(len(text), at + MAX_HELD)
    depth = parentheses = 0
    for index in range(at, limit):
        character = text[index]
        if character == "[":
            depth += 1
        elif character == "]":
            depth -= 1
            if not depth:
                return index
        elif character == "(":
            parentheses += 1
        elif character == ")":
            parentheses -= 1
            if parentheses < 0:
                return 0  # an interval: [0, 1)
    return 0 if final or sentence is not None or len(text) >= at + MAX_HELD else MORE


def _link(inline: Inline, text: str, at: int, inner: str, final: bool) -> int:
    """A link whose target begins at `at`; 0 if it is none."""
    if (begun := _SCHEME_OF_TARGET.match(text, at)) is not None:
        _speak(inline, inner)
        inline.in_target, inline.depth = True, 1
        return begun.end()
    whole = _TARGET.match(text, at, at + _MAX_TARGET)
    if whole is not None:
        _speak(inline, inner)
        return whole.end()
    if not final and len(text) < at + _MAX_TARGET and _TARGET_SO_FAR.match(text, at) is not None:
        return MORE
    return 0


def target(inline: Inline, text: str, at: int) -> int:
    """Inside the target of a link, which is removed entirely."""
    while at < len(text):
        at = _IN_TARGET.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
        character = text[at : at + 1]
        if character == "(":
            inline.depth += 1
        elif character == ")":
            inline.depth -= 1
        elif character == "\n":
            inline.in_target = False
            return at
        if character:
            at += 1
            if not inline.depth:
                inline.in_target = False
                return at
    return at


def left_over(inline: Inline, text: str, at: int, final: bool) -> int:
    """`](https://…)` without its beginning: the text of the link was longer than a sentence."""
    if (found := _LEFT_OVER.match(text, at)) is not None:
        inline.in_target, inline.depth = True, 1
        return found.end()
    if not final and _LEFT_OVER_SO_FAR.match(text, at) is not None:
        return MORE
    inline.writer.write("]")
    return at + 1


def _in_formula(writer: SpeechWriter) -> bool:
    last = writer.gap.strip()[-1:] or ("" if writer.empty else writer.last[-1:])
    return last in _OPERATORS if last else False


def _is_index(before: str) -> bool:
    """True if a bracket after `before` is an index, "a[i][j]", not a link."""
    return before.isascii() and (before.isalnum() or before == "_")


def _speak(inline: Inline, inner: str) -> None:
    """The text of a link; nothing if it is a citation number, or itself an address."""
    spoken = "" if _CITED.fullmatch(inner) else inline.plain(inner).strip()
    if spoken:
        inline.writer.write(spoken)
    else:
        inline.writer.remove()


def _definition(inline: Inline, text: str, at: int, colon: int, final: bool) -> int:
    """`[name]: address` at the start of a line is removed; `[^1]: a note` keeps the note."""
    if _CITED.fullmatch(text, at + 1, colon - 1):
        inline.writer.remove()
        return colon + 1
    defined = text[colon + 1 : colon + 30].lstrip(" \t")
    if defined.startswith(_DEFINED):
        inline.writer.remove()
        inline.skipping = True
        return colon
    if not final and len(text) < colon + 30 and any(start.startswith(defined) for start in _DEFINED):
        return MORE
    inline.writer.write("[")
    return at + 1


def mark(inline: Inline, text: str, at: int, final: bool) -> int:
    """Some providers' citations: 【4:0†source】, and those in private-use characters."""
    whole, so_far = (_DAGGER, _DAGGER_SO_FAR) if text[at] == "【" else (_CITE_MARK, _CITE_MARK_SO_FAR)
    if (found := whole.match(text, at)) is not None:
        inline.writer.remove()
        return found.end()
    if not final and so_far.match(text, at) is not None:
        return MORE
    if text[at] == "【":
        inline.writer.write("【")
    return at + 1


def angle(inline: Inline, text: str, at: int, final: bool) -> int:
    """HTML tags and `<https://…>` are removed; "x < y" stays."""
    writer = inline.writer
    if (tag := _TAG.match(text, at)) is not None and tag.end() <= at + MAX_HELD:
        if _BREAKS.fullmatch(tag.group("name")):
            writer.remove(PICTURE)
        elif writer.empty:
            writer.remove()
        return tag.end()
    if (mail := _MAIL.match(text, at)) is not None and mail.end() <= at + MAX_HELD:
        writer.write(mail.group(1))
        return mail.end()
    if (link := _AUTOLINK.match(text, at)) is not None and link.end() <= at + MAX_HELD:
        writer.remove()
        return link.end()
    if not final and len(text) < at + MAX_HELD and (_TAG_SO_FAR.match(text, at) or _IN_ANGLES_SO_FAR.match(text, at)):
        return MORE
    writer.write("<")
    return at + 1


def address(inline: Inline, text: str, at: int, final: bool) -> int:
    """Inside a bare address: it is removed, but not the punctuation of the sentence that it ends."""
    end = at
    while True:
        if (found := _ADDRESS.match(text, end)) is not None:
            end = found.end()
        character = text[end : end + 1]
        if character == "(":
            inline.depth += 1
        elif character == ")" and inline.depth:
            inline.depth -= 1
        else:
            break
        end += 1
    body = at + len(text[at:end].rstrip(_ADDRESS_TAIL))
    if end == len(text) and not final:
        return body if body > at else MORE
    inline.in_address = False
    return body


def web_address(inline: Inline, text: str, at: int, final: bool) -> int:
    """A word that may begin an address."""
    writer = inline.writer
    if writer.before.isascii() and (writer.before.isalnum() or writer.before == "_"):
        writer.write(text[at])
        return at + 1
    scheme = _SCHEME.match(text, at)
    if scheme is None and not final:
        return MORE
    if scheme is None:
        writer.write(text[at:])
        return len(text)
    _begin_address(inline)
    return scheme.end()


def colon(inline: Inline, text: str, at: int, final: bool) -> int:
    """A colon, which waits for what follows; "://" turns the word before it into an address."""
    if text.startswith("://", at):
        _begin_address(inline)
        return at + 3
    if not final and "://".startswith(text[at:]):
        return MORE
    inline.writer.wait(":")
    return at + 1


def _begin_address(inline: Inline) -> None:
    inline.in_address, inline.depth = True, 0
    inline.writer.remove()
