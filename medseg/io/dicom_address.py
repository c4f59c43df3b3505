"""How a PACS is addressed: DICOMweb by its URL, a DICOM application entity by title and port."""

import os
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from medseg.errors import Problem, UsageError

PASSWORD = "MEDSEG_PACS_PASSWORD"
OWN_TITLE = "MEDSEG"
TIMEOUT_S = 60.0

_FORMS = "dicomweb:https://HOST/PATH or dimse:AET@HOST:PORT"
_DIMSE = re.compile(
    r"(?P<title>[^@\\?\s]{1,16})@(?P<host>[^@:/?\s]+):(?P<port>\d{1,5})"
    r"(\?as=(?P<own_title>[^@\\?\s]{1,16}))?"
)


@dataclass(frozen=True)
class WebAddress:
    """Where a DICOMweb service is, and who asks.

    Attributes:
        name: What messages call it: the address without user and password.
        url: Of the service, without them too.
        user: Of HTTP's basic authentication; empty for none.
        password: The user's.
        timeout_s: How long the service may say nothing.
    """

    name: str
    url: str
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    timeout_s: float = TIMEOUT_S


@dataclass(frozen=True)
class NetworkAddress:
    """Where a DICOM application entity listens.

    Attributes:
        name: What messages call it: its address.
        title: Its application entity title.
        host: Its name or number.
        port: Of TCP.
        own_title: Our application entity title, which it may want to know.
        timeout_s: How long it may say nothing.
    """

    name: str
    title: str
    host: str
    port: int
    own_title: str = OWN_TITLE
    timeout_s: float = TIMEOUT_S


def parse_address(address: str, *, timeout_s: float = TIMEOUT_S) -> WebAddress | NetworkAddress:
    """Return the parts of an address.

    A user without a password in a URL gets it from the environment's ``MEDSEG_PACS_PASSWORD``.

    Raises:
        UsageError: E-PACS-ADDRESS, it has neither form. The message holds no more of it than its
            scheme, since a password may be anywhere in it.

    >>> parse_address("dimse:ORTHANC@127.0.0.1:4242").port
    4242
    >>> parse_address("dicomweb:https://me:secret@pacs.example/dicom-web").url
    'https://pacs.example/dicom-web'
    """
    scheme, _, rest = address.partition(":")
    if scheme == "dicomweb":
        return _web(rest, timeout_s)
    if scheme == "dimse":
        return _network(rest, timeout_s)
    raise _wrong("PACS", "the address begins with neither dicomweb: nor dimse:")


def _web(text: str, timeout_s: float) -> WebAddress:
    try:
        url, port = urlsplit(text), urlsplit(text).port
    except ValueError:
        raise _wrong("dicomweb", "is no URL") from None
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise _wrong("dicomweb", "is no URL of http or https")
    if url.query or url.fragment or "@" in url.path:
        raise _wrong("dicomweb", "has more than a host and a path")
    host = url.hostname + (f":{port}" if port else "")
    bare = SplitResult(url.scheme, host, url.path.rstrip("/"), "", "").geturl()
    user = unquote(url.username or "")
    password = unquote(url.password or "") or (os.environ.get(PASSWORD, "") if user else "")
    return WebAddress(f"dicomweb:{bare}", bare, user, password, timeout_s)


def _network(text: str, timeout_s: float) -> NetworkAddress:
    match = _DIMSE.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 2**16:
        raise _wrong("dimse", "is not like AET@HOST:PORT", "dimse:AET@HOST:PORT[?as=AET]")
    title, host, port = match["title"], match["host"], int(match["port"])
    own_title = match["own_title"] or OWN_TITLE
    return NetworkAddress(f"dimse:{title}@{host}:{port}", title, host, port, own_title, timeout_s)


def _wrong(subject: str, found: str, expected: str = _FORMS) -> UsageError:
    return UsageError(Problem("E-PACS-ADDRESS", subject, found, expected))
