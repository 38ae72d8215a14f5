"""Text between tags: how the prompt quotes what may hold angle brackets.

xml.sax.saxutils does the same, and imports urllib.request and http.client for it.
"""


def escaped(text: str) -> str:
    """`text` so that a reader of tags takes none of it for one."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def quoted(text: str) -> str:
    """`text` as the value of an attribute."""
    return '"' + escaped(text).replace('"', "&quot;") + '"'
