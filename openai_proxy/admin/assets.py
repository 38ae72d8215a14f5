"""The page's files: what Vite built, otherwise a page of plain HTML (`plain_page.py`).

The built files are read on request and not cached, so a page that nobody opens costs no memory.
"""

import mimetypes
from pathlib import Path
from typing import Final

from openai_proxy.admin.call import AdminAnswer, AdminCall
from openai_proxy.errors import NotFound

DIST: Final = Path(__file__).parent / "page" / "dist"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
PAGE_FIELDS: Final = (
    ("Content-Security-Policy", _POLICY),
    ("Referrer-Policy", "same-origin"),
    ("X-Frame-Options", "SAMEORIGIN"),
)
_VARIES: Final = ("Vary", "Accept-Encoding")
_HTML: Final = "text/html; charset=utf-8"
_FOR_EVER: Final = ("Cache-Control", "private, max-age=31536000, immutable")  # an asset's name changes with its content


def is_built() -> bool:
    """True if the application was built; otherwise the plain page is served."""
    return (DIST / "index.html").is_file()


async def shell(call: AdminCall) -> AdminAnswer:
    """`GET /`: the page, which loads its data itself; a greeting for programs other than browsers."""
    if "text/html" not in call.request.headers.get("Accept", "text/html"):
        # Ollama's clients use this path to find out whether the server is running.
        return AdminAnswer(b"Ollama is running", content_type="text/plain; charset=utf-8")
    if not is_built():
        from openai_proxy.admin import plain_page

        return AdminAnswer(plain_page.entrance(), content_type=_HTML, fields=PAGE_FIELDS)
    return await call.thread(_file, "index.html", _accepts_gzip(call), PAGE_FIELDS)


async def asset(call: AdminCall) -> AdminAnswer:
    """`GET /admin/assets/…`: a script, style or image of the page."""
    return await call.thread(_file, f"admin/assets/{call.names[0]}", _accepts_gzip(call), (_FOR_EVER,))


async def plain(call: AdminCall) -> AdminAnswer:
    """`GET /admin`: the same data without scripts, or the sign-in form."""
    from openai_proxy.admin import plain_page

    html = plain_page.facts(call.state) if call.session is not None else plain_page.login(call.argument("login"))
    return AdminAnswer(html, content_type=_HTML, fields=PAGE_FIELDS)


def _accepts_gzip(call: AdminCall) -> bool:
    return "gzip" in call.request.headers.get("Accept-Encoding", "")


def _file(name: str, gzip: bool, fields: tuple[tuple[str, str], ...]) -> AdminAnswer:
    path = (DIST / name).resolve()
    if not path.is_relative_to(DIST.resolve()):
        raise NotFound("There is nothing at this path.")
    kind = _HTML if name.endswith(".html") else mimetypes.guess_type(name)[0] or "application/octet-stream"
    try:
        small = path.with_name(f"{path.name}.gz")
        if gzip and small.is_file():
            return AdminAnswer(small.read_bytes(), 200, kind, (*fields, _VARIES, ("Content-Encoding", "gzip")))
        return AdminAnswer(path.read_bytes(), 200, kind, (*fields, _VARIES))
    except OSError:
        raise NotFound("There is nothing at this path.") from None
