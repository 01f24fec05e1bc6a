"""The web page as prepared answers.

Every file of `bootstrap/web` is read and compressed once, when the routes are made; a request picks one of a fixed
set of addresses, so no part of a request ever becomes a file name. The same folder can be served by any web server.
"""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from starlette.datastructures import URLPath
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

WEB: Final = Path(__file__).parent / "web"

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        # These three do not fall back to default-src.
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
}
_NOT_FOUND: Final = "/404.html"
_INDEX: Final = "index.html"


@dataclass(frozen=True, slots=True)
class PreparedFile:
    """One file with everything that its answers need. `compressed` is gzip, the same bytes on every start."""

    content: bytes
    compressed: bytes
    media_type: str
    digest: str

    def answer(self, request: Request, status: int = 200) -> Response:
        """Status 304 for a reader who holds these bytes, else the file, compressed where the reader takes gzip."""
        packed = _takes_gzip(request.headers.get("accept-encoding", ""))
        etag = f'"{self.digest}-gzip"' if packed else f'"{self.digest}"'
        headers = {
            # Revalidated at each visit: page and modules must come from the same release.
            "Cache-Control": "no-cache",
            "Content-Security-Policy": POLICY,
            "Cross-Origin-Opener-Policy": "same-origin",
            "ETag": etag,
            "Referrer-Policy": "no-referrer",
            "Vary": "Accept-Encoding",
            "X-Content-Type-Options": "nosniff",
        }
        if status == 200 and _holds(request.headers.get("if-none-match", ""), etag):
            return Response(status_code=304, headers=headers)
        body = self.compressed if packed else self.content
        headers |= {"Content-Type": self.media_type, "Content-Length": str(len(body))}
        if packed:
            headers["Content-Encoding"] = "gzip"
        return Response(b"" if request.method == "HEAD" else body, status_code=status, headers=headers)


def prepared_files(folder: Path = WEB) -> dict[str, PreparedFile]:
    """The files of `folder` by their address: `index.html` answers for its folder. Other kinds are left out."""
    files = {}
    for path in sorted(folder.rglob("*")):
        media_type = _MEDIA_TYPES.get(path.suffix)
        if media_type is None or not path.is_file():
            continue
        content = path.read_bytes()
        address = "/" + path.relative_to(folder).as_posix()
        files[address.removesuffix(_INDEX)] = PreparedFile(
            content=content,
            compressed=gzip.compress(content, compresslevel=9, mtime=0),
            media_type=media_type,
            digest=hashlib.sha256(content).hexdigest()[:32],
        )
    return files


class PageRoute(BaseRoute):
    """Answers every HTTP request that no route before it took; an unknown address gets a page that says so.

    Not `starlette.routing.Route`: its patterns let a line break pass at the end of a path.
    """

    def __init__(self, files: dict[str, PreparedFile]) -> None:
        self._files = files
        self._missing = files[_NOT_FOUND]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Any HTTP request, no web socket."""
        return (Match.FULL if scope["type"] == "http" else Match.NONE), {}

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Pages have no names: always `NoMatchFound`."""
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, the way to its folder, 404, or 405 for anything but GET and HEAD."""
        await self._answer(Request(scope))(scope, receive, send)

    def _answer(self, request: Request) -> Response:
        if request.method not in {"GET", "HEAD"}:
            return Response(status_code=405, headers={"Allow": "GET, HEAD"})
        path = request.scope["path"]
        file = self._files.get(path)
        if file is not None and path != _NOT_FOUND:
            return file.answer(request)
        if f"{path}/" in self._files:
            query = request.url.query
            return RedirectResponse(f"{path}/?{query}" if query else f"{path}/", status_code=308)
        return self._missing.answer(request, status=404)


def page_routes() -> list[BaseRoute]:
    """Routes for the web page. They take whatever is left, so they come last in an application."""
    return [PageRoute(prepared_files())]


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding field (RFC 9110, 12.5.3) allows gzip by name."""
    for part in accepted.lower().split(","):
        coding, _, parameters = part.partition(";")
        if coding.strip() == "gzip":
            weight = parameters.replace(" ", "").removeprefix("q=")
            return weight.strip("0.") != "" or weight == ""
    return False


def _holds(conditions: str, etag: str) -> bool:
    """Whether an If-None-Match field (RFC 9110, 13.1.2; weak comparison) names `etag`."""
    names = {name.strip().removeprefix("W/") for name in conditions.split(",")}
    return etag in names or "*" in names
