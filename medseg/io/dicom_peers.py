"""A PACS by its address: what of a study is fetched from it, and what is stored in it.

``dicomweb:https://[USER[:PASSWORD]@]HOST[:PORT]/PATH`` is asked by QIDO-RS, WADO-RS and STOW-RS
(PS3.18), ``dimse:AET@HOST:PORT[?as=AET]`` by C-FIND, C-GET and C-STORE (PS3.4). What speaks the
protocols is imported when a peer is first asked. No message holds a credential, or an identifier
in full.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from medseg.errors import DataError, MedsegError, PartialError, Problem, UsageError
from medseg.io.atomic import replacing
from medseg.io.dicom_address import TIMEOUT_S, NetworkAddress, WebAddress, parse_address
from medseg.io.dicom_written import silenced

_UID = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)+")


def peer_of(address: str, *, timeout_s: float = TIMEOUT_S) -> "Peer":
    """Return the PACS at an address; nothing is sent yet.

    Args:
        address: ``dicomweb:URL`` or ``dimse:AET@HOST:PORT``, see `parse_address`.
        timeout_s: How long it may say nothing.

    Raises:
        UsageError: E-PACS-ADDRESS, it has neither form.
    """
    return Peer(parse_address(address, timeout_s=timeout_s))


@dataclass(frozen=True)
class Peer:
    """A PACS.

    Attributes:
        where: Its address.
    """

    where: WebAddress | NetworkAddress

    @property
    def name(self) -> str:
        """The address without credentials."""
        return self.where.name

    def fetch(self, study: str, folder: Path, series: str | None = None) -> list[Path]:
        """Fetch a study's instances, or those of one series, a file each, as they were stored.

        Args:
            study: The study's instance UID.
            folder: A new or empty folder; one made here is only the user's to open. Files are
                called by numbers: nothing that was sent gets into a path.
            series: The series' instance UID; every series of the study when there is none.

        Returns:
            The files, in the order of their arrival. After an error there are none.

        Raises:
            UsageError: A UID or `folder` cannot be used, the peer wants other credentials, or it is
                no PACS.
            DataError: The peer has no such study, did not send all of it, or something else.
            ResourceError: Nothing answers, or not in time, or the disk is full.
        """
        _require_uids(study, series)
        _require_empty(folder)
        files: dict[str, Path] = {}

        def keep(content: bytes) -> None:
            uid = self._require_of(study, content)
            path = files.setdefault(uid, folder / f"{len(files) + 1:05}.dcm")
            with replacing(path) as stream:
                stream.write(content)

        try:
            if isinstance(self.where, WebAddress):
                from medseg.io import dicom_web

                listed = dicom_web.fetch(self.where, study, series=series, keep=keep)
            else:
                from medseg.io import dicom_network

                listed = dicom_network.fetch(self.where, study, series=series, keep=keep)
            self._require_all(listed, set(files))
        except BaseException:
            for path in files.values():
                with suppress(OSError):
                    path.unlink()
            raise
        return list(files.values())

    def store(self, paths: Sequence[Path]) -> None:
        """Store DICOM files, one after the other.

        Raises:
            PartialError: Some were refused, or the peer failed in between; the others are stored.
            MedsegError: None is stored, and why.
        """
        n_stored = 0
        problems: list[Problem] = []
        kind: type[MedsegError] = DataError
        try:
            for path, refusal in self._sent(paths):
                n_stored += not refusal
                if refusal:
                    problems.append(Problem("E-PACS-STORE", str(path), f"{self.name} {refusal}"))
        except MedsegError as error:
            kind, problems = type(error), [*problems, *error.problems]
        if problems and n_stored:
            told = f"{n_stored} of {len(paths)} files are stored"
            raise PartialError(*problems, Problem("E-PACS-PARTIAL", self.name, told))
        if problems:
            raise kind(*problems)

    def _sent(self, paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
        if isinstance(self.where, WebAddress):
            from medseg.io import dicom_web

            return dicom_web.send(self.where, paths)
        from medseg.io import dicom_network

        return dicom_network.send(self.where, paths)

    def _require_of(self, study: str, content: bytes) -> str:
        """Return an instance's UID if it is one of the study."""
        asked = ["StudyInstanceUID", "SOPInstanceUID"]
        try:
            with silenced():
                header = pydicom.dcmread(
                    BytesIO(content), specific_tags=asked, stop_before_pixels=True
                )
                held, uid = str(header.StudyInstanceUID), str(header.SOPInstanceUID)
        except (InvalidDicomError, EOFError, OSError, ValueError, LookupError, AttributeError):
            found, expected = "sent something else", "DICOM instances"
        else:
            if held == study:
                return uid
            found, expected = "sent an instance of another study", f"those of …{study[-6:]}"
        raise DataError(Problem("E-PACS-CONTENT", self.name, found, expected))

    def _require_all(self, listed: set[str], came: set[str]) -> None:
        """Raise unless all came that was listed: a volume that lacks its end looks whole."""
        if listed - came:
            n_came = len(listed & came)
            found, fix = (
                f"{n_came} of {len(listed)} instances came",
                "fetch it again, or name the series",
            )
            raise DataError(Problem("E-PACS-PARTIAL", self.name, found, fix=fix))


def _require_uids(study: str, series: str | None) -> None:
    # Anything else would be a path of its own in a URL, or a wildcard in a query.
    problems = [
        Problem("E-PACS-UID", kind, "is no UID", "up to 64 digits and dots")
        for kind, uid in (("study", study), ("series", series))
        if uid is not None and not _UID.fullmatch(uid)
    ]
    if problems:
        raise UsageError(*problems)


def _require_empty(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.iterdir()):
        fix = "name a new or empty folder"
        raise UsageError(Problem("E-EXISTS", str(folder), "is not empty", fix=fix))
