"""A PACS by DICOM's own protocol: C-FIND tells what there is, C-GET retrieves, C-STORE stores.

C-GET (PS3.4 C.4.3) sends on the connection that we made, so that nothing has to listen here, as
C-MOVE would need.
"""

import logging
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pynetdicom
from pydicom import Dataset, uid
from pydicom.errors import InvalidDicomError
from pynetdicom import evt, sop_class
from pynetdicom.presentation import PresentationContext, build_context, build_role

from medseg.errors import DataError, MedsegError, Problem, ResourceError, UsageError
from medseg.io.dicom_address import NetworkAddress
from medseg.io.dicom_written import silenced

CONNECT_S = 10.0

_FIND = sop_class.StudyRootQueryRetrieveInformationModelFind
_GET = sop_class.StudyRootQueryRetrieveInformationModelGet
_IMAGES = (
    uid.MRImageStorage,
    uid.EnhancedMRImageStorage,
    uid.LegacyConvertedEnhancedMRImageStorage,
    uid.CTImageStorage,
    uid.EnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
)
# What lies in a study beside images: not for us, but it must not spoil the retrieval.
_OTHERS = (
    uid.SegmentationStorage,
    uid.RTStructureSetStorage,
    uid.RTPlanStorage,
    uid.RTDoseStorage,
    uid.PositronEmissionTomographyImageStorage,
    uid.SpatialRegistrationStorage,
    uid.RealWorldValueMappingStorage,
    uid.GrayscaleSoftcopyPresentationStateStorage,
    uid.KeyObjectSelectionDocumentStorage,
    uid.BasicTextSRStorage,
    uid.EnhancedSRStorage,
    uid.ComprehensiveSRStorage,
    uid.Comprehensive3DSRStorage,
    uid.XRayRadiationDoseSRStorage,
    uid.EncapsulatedPDFStorage,
    uid.RawDataStorage,
)
_PLAIN = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian)
_COMPRESSED = (
    uid.RLELossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.JPEGBaseline8Bit,
    uid.JPEG2000,
)
_MAX_CONTEXTS = 128
_PENDING, _DONE = {0xFF00, 0xFF01}, 0x0000

# What is asked and answered names patients, and an error that matters is raised.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
pynetdicom._config.LOG_REQUEST_IDENTIFIERS = False
pynetdicom._config.LOG_RESPONSE_IDENTIFIERS = False


def fetch(
    where: NetworkAddress, study: str, *, series: str | None, keep: Callable[[bytes], None]
) -> set[str]:
    """Retrieve the instances of a study, or of one series of it.

    Args:
        where: The application entity.
        study: The study's UID.
        series: The series' UID; all of the study when there is none.
        keep: Called with the bytes of each instance, as a file holds them, as it arrives.

    Returns:
        The UIDs of the instances that it lists.

    Raises:
        MedsegError: See `medseg.io.dicom_peers.Peer.fetch`.
    """
    listed = _listed(where, study, series)
    storage = [build_context(kind, list(_PLAIN)) for kind in (*_IMAGES, *_OTHERS)]
    # Each on its own, so that what is stored compressed can come so.
    storage += [build_context(kind, syntax) for kind in _IMAGES for syntax in _COMPRESSED]
    roles = [build_role(kind, scp_role=True) for kind in (*_IMAGES, *_OTHERS)]
    failures: list[BaseException] = []

    def handle(event: evt.Event) -> int:
        try:
            if not failures:
                keep(event.encoded_dataset())
        except BaseException as error:  # pynetdicom would keep it to itself
            failures.append(error)
        return 0xA700 if failures else _DONE  # out of resources: no use in sending the others

    asked = _identifier(study, series)
    options = {"ext_neg": roles, "evt_handlers": [(evt.EVT_C_STORE, handle)]}
    with _associated(where, "C-GET", [build_context(_GET), *storage], **options) as association:
        if _GET not in {context.abstract_syntax for context in association.accepted_contexts}:
            raise _unwilling(where, "C-GET")
        for _ in _answers(association.send_c_get(asked, _GET), where, "C-GET"):
            if failures:
                raise failures[0]
        if failures:
            raise failures[0]
    return listed


def send(where: NetworkAddress, paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Store files, and yield each with the reason why it was refused, empty when it was not.

    Raises:
        MedsegError: The peer does not answer as one should; see `medseg.io.dicom_peers`.
    """
    kinds = {_kind(path) for path in paths}
    contexts = [build_context(*kind) for kind in sorted(kinds)]
    with _associated(where, "C-STORE of such files", contexts[:_MAX_CONTEXTS]) as association:
        for path in paths:
            asked_s = time.monotonic()
            try:
                with silenced():
                    status = association.send_c_store(pydicom.dcmread(path))
            except ValueError:
                yield path, "does not take files of this kind or encoding"
                continue
            except RuntimeError:  # no association any more
                raise _lost(where, asked_s) from None
            if "Status" not in status:
                raise _lost(where, asked_s)
            # Warnings, such as an element that was changed, come with a file that is stored.
            stored = status.Status == _DONE or status.Status >> 12 == 0xB
            yield path, "" if stored else f"refused it with status {status.Status:04X}"


def _listed(where: NetworkAddress, study: str, series: str | None) -> set[str]:
    """Return the UIDs of all instances of a study or series. Source: PS3.4 C.6.2."""
    with _associated(where, "C-FIND", [build_context(_FIND)]) as association:

        def found(keyword: str, **keys: str) -> list[str]:
            query = Dataset()
            for name, value in {**keys, keyword: ""}.items():
                setattr(query, name, value)
            answers = _answers(association.send_c_find(query, _FIND), where, "C-FIND")
            return [str(answer.get(keyword, "")) for answer in answers]

        ours = {"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": study}
        all_series = found("SeriesInstanceUID", **ours)
        if not all_series:
            raise DataError(Problem("E-PACS-STUDY", where.name, f"has no study …{study[-6:]}"))
        if series is not None and series not in all_series:
            told = f"has no series …{series[-6:]} in study …{study[-6:]}"
            raise DataError(Problem("E-PACS-STUDY", where.name, told))
        ours = {"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": study}
        wanted = all_series if series is None else [series]
        return {
            instance
            for each in wanted
            for instance in found("SOPInstanceUID", **ours, SeriesInstanceUID=each)
        }


def _identifier(study: str, series: str | None) -> Dataset:
    asked = Dataset()
    asked.QueryRetrieveLevel = "STUDY" if series is None else "SERIES"
    asked.StudyInstanceUID = study
    if series is not None:
        asked.SeriesInstanceUID = series
    return asked


def _kind(path: Path) -> tuple[str, str]:
    """Return a file's SOP class and transfer syntax."""
    try:
        with silenced():
            meta = pydicom.filereader.read_file_meta_info(path)
        return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
    except (InvalidDicomError, EOFError, AttributeError):
        raise DataError(Problem("E-PACS-FILE", str(path), "is no DICOM file")) from None


@contextmanager
def _associated(
    where: NetworkAddress,
    name: str,
    contexts: list[PresentationContext],
    **options: Any,  # noqa: ANN401
) -> Iterator[Any]:
    """Open an association for what `name` says, and release it, or abort it at an error."""
    entity = pynetdicom.AE(ae_title=where.own_title)
    entity.connection_timeout = min(CONNECT_S, where.timeout_s)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = where.timeout_s
    _require_listening(where, entity.connection_timeout)
    began_s = time.monotonic()
    association = entity.associate(
        where.host, where.port, contexts, ae_title=where.title, **options
    )
    try:
        if not association.is_established:
            raise _not_made(association, where, name, began_s)
        yield association
        association.release()
    finally:
        if association.is_established:
            association.abort()


def _require_listening(where: NetworkAddress, timeout_s: float) -> None:
    """Raise unless there is a port: pynetdicom does not tell that from one that hangs up."""
    try:
        socket.create_connection((where.host, where.port), timeout_s).close()
    except OSError:
        fix = "check the address, and that the server runs"
        raise ResourceError(
            Problem("E-PACS-DOWN", where.name, "nothing answers", fix=fix)
        ) from None


def _not_made(
    association: Any,  # noqa: ANN401
    where: NetworkAddress,
    name: str,
    began_s: float,
) -> MedsegError:
    if association.is_rejected:
        found = f"refuses {where.own_title} to call {where.title}"
        fix = "have it registered there, or name another title with ?as=AET"
        return UsageError(Problem("E-PACS-AUTH", where.name, found, fix=fix))
    if association.acceptor.primitive:
        return _unwilling(where, name)
    if time.monotonic() - began_s >= where.timeout_s:
        return _silent(where)
    found = "is no DICOM application entity"
    return UsageError(Problem("E-PACS-PROTOCOL", where.name, found))


def _unwilling(where: NetworkAddress, name: str) -> UsageError:
    fix = "have it allowed there, or use dicomweb:"
    return UsageError(Problem("E-PACS-REFUSED", where.name, f"does not do {name}", fix=fix))


def _answers(
    responses: Iterable[tuple[Dataset, Dataset | None]], where: NetworkAddress, name: str
) -> Iterator[Dataset]:
    """Yield what comes in answer to a query, as long as all is well."""
    heard_s = time.monotonic()
    for status, answer in responses:
        if "Status" not in status:
            raise _lost(where, heard_s)
        heard_s = time.monotonic()
        # B000: all that could be sent was; what is missing is counted in the end.
        if status.Status not in {*_PENDING, _DONE, 0xB000}:
            found = f"refuses {name} with status {status.Status:04X}"
            raise ResourceError(Problem("E-PACS-REFUSED", where.name, found))
        if answer is not None:
            yield answer


def _lost(where: NetworkAddress, since_s: float) -> ResourceError:
    if time.monotonic() - since_s >= where.timeout_s:
        return _silent(where)
    fix = f"see that it knows {where.own_title} and allows it this, and what its log says"
    return ResourceError(Problem("E-PACS-CUT", where.name, "broke the connection off", fix=fix))


def _silent(where: NetworkAddress) -> ResourceError:
    found = f"has said nothing for {where.timeout_s:g} s"
    return ResourceError(Problem("E-PACS-TIMEOUT", where.name, found))
