"""A PACS by DICOMweb: QIDO-RS tells what there is, WADO-RS retrieves, STOW-RS stores (PS3.18).

The password goes to the host of the address and to no other: redirections are not followed.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pydicom
import requests
from dicomweb_client import DICOMwebClient
from pydicom.errors import InvalidDicomError
from requests import exceptions

from medseg.errors import DataError, MedsegError, Problem, ResourceError, UsageError
from medseg.io.dicom_address import WebAddress
from medseg.io.dicom_written import silenced

CONNECT_S = 10.0
MAX_INSTANCE_BYTES = 4 * 2**30

_AS_STORED = (("application/dicom", "*"),)
_STUDY, _INSTANCE = "0020000D", "00080018"  # StudyInstanceUID, SOPInstanceUID in DICOM JSON
_REFUSED_FILE = {400, 409, 413, 415}

# What a server says in a header may be anything, a patient's name too.
logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)


class _RedirectedError(Exception):
    """The server wants us somewhere else."""


class _TooLargeError(Exception):
    """One instance takes more than there is patience for."""


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Refuse where requests would go after this response, with a password or a patient."""
        if super().get_redirect_target(resp):
            resp.close()
            raise _RedirectedError
        return None


def fetch(
    where: WebAddress, study: str, *, series: str | None, keep: Callable[[bytes], None]
) -> set[str]:
    """Retrieve the instances of a study, or of one series of it.

    Args:
        where: The service.
        study: The study's UID.
        series: The series' UID; all of the study when there is none.
        keep: Called with the bytes of each instance as it arrives.

    Returns:
        The UIDs of the instances that the service lists.

    Raises:
        MedsegError: See `medseg.io.dicom_peers.Peer.fetch`.
    """
    with _told(where), closing(_Meter()) as meter, _client(where, meter.watch) as client:
        known = client.search_for_studies(search_filters={"StudyInstanceUID": study})
        listed = _listed(client, study, series) if known else set()
        if not listed:
            part = f"series …{series[-6:]} in " if series and known else ""
            found = f"has no {part}study …{study[-6:]}"
            raise DataError(Problem("E-PACS-STUDY", where.name, found))
        if series is None:
            parts = client.iter_study(study, media_types=_AS_STORED)
        else:
            parts = client.iter_series(study, series, media_types=_AS_STORED)
        for content in _contents(parts):
            meter.held_bytes = 0
            keep(content)
    return listed


def send(where: WebAddress, paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Store files, and yield each with the reason why it was refused, empty when it was not.

    Raises:
        MedsegError: The service does not answer as one should; see `medseg.io.dicom_peers`.
    """
    with _told(where), _client(where) as client:
        for path in paths:
            yield path, _stored(client, path)


def _stored(client: DICOMwebClient, path: Path) -> str:
    with silenced():
        try:
            dataset = pydicom.dcmread(path)
        except (InvalidDicomError, EOFError):
            raise DataError(Problem("E-PACS-FILE", str(path), "is no DICOM file")) from None
        try:
            return _refusal(client.store_instances([dataset]))
        except exceptions.HTTPError as error:
            if error.response is None or error.response.status_code not in _REFUSED_FILE:
                raise
            return f"refused it with status {error.response.status_code}"


def _listed(client: DICOMwebClient, study: str, series: str | None) -> set[str]:
    """Return the UIDs of all instances, page by page.

    The client's own paging never ends with a server that takes no offset.
    """
    listed: set[str] = set()
    while True:
        rows = client.search_for_instances(study, series, fields=[_INSTANCE], offset=len(listed))
        page = {str(row[_INSTANCE]["Value"][0]) for row in rows}
        if page <= listed:
            return listed
        listed |= page


@contextmanager
def _client(where: WebAddress, *hooks: Callable[..., None]) -> Iterator[DICOMwebClient]:
    with _Session() as session:
        session.hooks["response"] = list(hooks)
        if where.user:
            # As bytes: of text, requests would send Latin-1.
            session.auth = (where.user.encode(), where.password.encode())  # type: ignore[assignment]
        timeout_s = (min(CONNECT_S, where.timeout_s), where.timeout_s)
        client = DICOMwebClient(where.url, session=session, timeout=timeout_s)
        client.set_http_retry_params(retry=False)
        yield client


class _Meter:
    """Counts what has come of one instance: the client keeps it in memory until it is whole."""

    def __init__(self) -> None:
        self.held_bytes = 0
        self._response: requests.Response | None = None

    def close(self) -> None:
        """Hang up, if there is more to come that nobody wants."""
        if self._response is not None:
            self._response.close()

    def watch(self, response: requests.Response, **_: Any) -> None:  # noqa: ANN401
        """Have the content of a response counted while it is read."""
        self._response, chunks = response, response.iter_content

        def counted(*args: Any, **options: Any) -> Iterator[bytes]:  # noqa: ANN401
            for chunk in chunks(*args, **options):
                self.held_bytes += len(chunk)
                if self.held_bytes > MAX_INSTANCE_BYTES:
                    raise _TooLargeError
                yield chunk

        response.iter_content = counted  # type: ignore[method-assign]


def _contents(parts: Iterable[pydicom.Dataset]) -> Iterator[bytes]:
    """Yield the bytes that the client has read data sets from."""
    remaining = iter(parts)
    while True:
        with silenced():
            dataset = next(remaining, None)
        if dataset is None:
            return
        yield dataset.buffer.getvalue()


def _refusal(response: pydicom.Dataset) -> str:
    """Return why the one instance of a STOW-RS response was not stored. Source: PS3.18 I.2."""
    failed = response.get("FailedSOPSequence") or ()
    reasons = [f"{int(item.get('FailureReason') or 0):04X}" for item in failed]
    return f"refused it with reason {', '.join(reasons)}" if reasons else ""


@contextmanager
def _told(where: WebAddress) -> Iterator[None]:
    """Raise what goes wrong as one of our errors.

    Without its cause: that names URLs, which hold identifiers in full.
    """
    try:
        yield
    except _TooLargeError:
        limit = f"up to {MAX_INSTANCE_BYTES / 2**30:g} GiB"
        raise DataError(
            Problem("E-PACS-SIZE", where.name, "sends an instance without end", limit)
        ) from None
    except _RedirectedError:
        fix = "give the address that it redirects to, if you trust it"
        raise UsageError(
            Problem("E-PACS-REDIRECT", where.name, "redirects to another address", fix=fix)
        ) from None
    except exceptions.HTTPError as error:
        raise _of_status(where, getattr(error.response, "status_code", 0)) from None
    except (exceptions.JSONDecodeError, exceptions.InvalidHeader):
        raise _no_service(where) from None
    except exceptions.RequestException as error:
        raise _of_network(where, error) from None
    except (InvalidDicomError, EOFError, LookupError, ValueError, TypeError, AttributeError):
        # dicomweb_client takes answers apart without looking whether they are what they should be.
        raise _no_service(where) from None


def _no_service(where: WebAddress) -> UsageError:
    found, fix = "is no DICOMweb service", "see its documentation for the path"
    return UsageError(Problem("E-PACS-PROTOCOL", where.name, found, fix=fix))


def _of_status(where: WebAddress, status: int) -> MedsegError:
    if status in {401, 403, 407}:
        found = f"wants {'other ' if where.user else ''}credentials (status {status})"
        fix = "put USER@ before the host, and the password into MEDSEG_PACS_PASSWORD"
        return UsageError(Problem("E-PACS-AUTH", where.name, found, fix=fix))
    if status in {404, 405, 501}:
        return _no_service(where)
    found = f"cannot answer now (status {status})"
    return ResourceError(Problem("E-PACS-STATUS", where.name, found, fix="ask its administrator"))


def _of_network(where: WebAddress, error: exceptions.RequestException) -> MedsegError:
    if isinstance(error, exceptions.SSLError):
        found, fix = "its certificate is not trusted", "name its issuer in REQUESTS_CA_BUNDLE"
        return UsageError(Problem("E-PACS-TLS", where.name, found, fix=fix))
    # requests calls it a failed connection when time runs out within a response.
    if isinstance(error, exceptions.Timeout) or "timed out" in str(error):
        found = f"has said nothing for {where.timeout_s:g} s"
        return ResourceError(Problem("E-PACS-TIMEOUT", where.name, found))
    if isinstance(error, exceptions.ChunkedEncodingError | exceptions.ContentDecodingError):
        return ResourceError(Problem("E-PACS-CUT", where.name, "broke off in the middle"))
    fix = "check the address, and that the server runs"
    return ResourceError(Problem("E-PACS-DOWN", where.name, "nothing answers", fix=fix))
