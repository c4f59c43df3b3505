"""The viewer's server: a page, its scripts and the volumes of known cases, for this machine alone.

It listens on 127.0.0.1 and answers only requests that name this machine as their host, so that no
page of another origin reaches it by a name that it lets point here. Other users of this machine,
and pages that guess the port, lack the token that every path begins with. Paths are looked up,
never opened: what is not a fixed name or the number of a case is not there.
"""

import json
import logging
import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from secrets import compare_digest
from typing import NamedTuple

from medseg.errors import DataError, MedsegError, Problem, ResourceError
from medseg.labels import LabelSet
from medseg.report.viewer_cases import Case, as_plain
from medseg.report.viewer_volumes import Volumes

HOST = "127.0.0.1"

_LOG = logging.getLogger(__name__)
_PAGE = Path(__file__).parent / "viewer"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
_BINARY = "application/octet-stream"
_THIS_MACHINE = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?", re.ASCII | re.IGNORECASE)
_VOLUME = re.compile(
    r"/cases/(\d{1,6})/(?:(image)\.nii\.gz|(truth|pred)/([a-z0-9_]+)\.(nii\.gz|mz3))", re.ASCII
)
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Answer(NamedTuple):
    """What a path stands for."""

    body: bytes
    type: str
    status: HTTPStatus = HTTPStatus.OK


Routes = Callable[[str], Answer | None]


def routes(cases: Sequence[Case], labels: LabelSet, *, title: str) -> Routes:
    """Return a function that answers a path, with None where it stands for nothing."""
    fixed = _page()
    listed = json.dumps(as_plain(cases, labels, title=title), allow_nan=False)
    fixed["/cases.json"] = Answer(listed.encode(), "application/json")
    volumes = Volumes(cases, labels)

    def answer(path: str) -> Answer | None:
        asked = _VOLUME.fullmatch(path)
        if asked is None:
            return fixed.get(path)
        number, image, kind, organ, suffix = asked.groups()
        if int(number) >= len(cases) or not (image or organ in labels.names):
            return None
        try:
            if image:
                return Answer(volumes.image(int(number)), _BINARY)
            make = volumes.surface if suffix == "mz3" else volumes.mask
            return Answer(make(int(number), kind, organ), _BINARY)  # type: ignore[arg-type]
        except MedsegError as error:
            return _fault(error)

    return answer


def _page() -> dict[str, Answer]:
    """Return the files of the page by the paths that its own links name."""
    files = [*_PAGE.iterdir(), *(_PAGE / "vendored").glob("*.js")]
    found = {
        f"/{path.relative_to(_PAGE).as_posix()}": Answer(path.read_bytes(), _TYPES[path.suffix])
        for path in files
        if path.suffix in _TYPES
    }
    return {**found, "/": found["/index.html"]}


def _fault(error: MedsegError) -> Answer:
    problems = {"problems": [problem.as_dict() for problem in error.problems]}
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    if not isinstance(error, DataError):
        status = HTTPStatus.INTERNAL_SERVER_ERROR
    return Answer(json.dumps(problems).encode(), "application/json", status)


def bound(answer: Routes, *, port: int, token: str) -> ThreadingHTTPServer:
    """Return a server that listens on this machine, its thread a request.

    Args:
        answer: As `routes` makes it.
        port: 0 takes a free one.
        token: What the path of every request begins with, ``/TOKEN/``; see `new_token`.

    Raises:
        ResourceError: The port is in use (E-PORT).
    """

    class Handler(_Handler):
        routes = staticmethod(answer)
        expected = token.encode()

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        fix = f"choose another, as with --port {port + 1 if port < 65535 else 0}"
        reason = error.strerror or str(error)
        raise ResourceError(Problem("E-PORT", f"{HOST}:{port}", reason, fix=fix)) from error


def new_token() -> str:
    """Return a token that nobody guesses, 128 bits in letters that a path may have."""
    return secrets.token_urlsafe(16)


class _Handler(BaseHTTPRequestHandler):
    """Answer GET and HEAD by the routes; everything else is refused."""

    routes: Routes
    expected: bytes
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "medseg", ""
    timeout = 60.0

    def do_GET(self) -> None:
        """Answer with headers and body."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer with headers alone."""
        self._answer(with_body=False)

    def end_headers(self) -> None:
        """Add to every answer, a refusal too, what keeps other pages out."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Tell requests to those who ask for everything, the token left out."""
        _LOG.debug("%r", (format % args).replace(self.expected.decode(), "TOKEN"))

    def _answer(self, *, with_body: bool) -> None:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not _THIS_MACHINE.fullmatch(hosts[0].strip()):
            self.send_error(HTTPStatus.FORBIDDEN, "Only this machine is answered")
            return
        token, slash, path = self.path.partition("?")[0].removeprefix("/").partition("/")
        # In constant time: how long a refusal takes tells nothing of the token.
        if not compare_digest(token.encode("utf-8", "surrogateescape"), self.expected):
            self.send_error(HTTPStatus.FORBIDDEN, "The address lacks its token")
            return
        found = self.routes(slash + path)
        if found is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        # The page may have gone on to another case meanwhile.
        with suppress(ConnectionError):
            self.send_response(found.status)
            self.send_header("Content-Type", found.type)
            self.send_header("Content-Length", str(len(found.body)))
            self.end_headers()
            if with_body:
                self.wfile.write(found.body)
