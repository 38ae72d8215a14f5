"""Text between tags: how the prompt quotes what may contain angle brackets.

xml.sax.saxutils does the same, but imports urllib.request and http.client for it.
"""


def escaped(text: str) -> str:
    """`text` escaped so that none of it is read as a tag."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def quoted(text: str) -> str:
    """`text` as the value of an attribute."""
    return '"' + escaped(text).replace('"', "&quot;") + '"'
