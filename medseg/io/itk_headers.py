"""The text headers of NRRD and MetaImage files, field by field.

NRRD by teem.sourceforge.net/nrrd/format.html, MetaImage by itk.org/Wiki/MetaIO/Documentation.
A MetaImage tells positions in LPS; an NRRD names its space. Neither has to name a unit, and by
custom it is the millimetre; another one is refused. Voxels of a header that stands alone
(``.mhd``, ``.nhdr``) lie in one file of the same folder.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.errors import DataError, Problem
from medseg.io.itk_claims import Claims, Packing
from medseg.io.nifti_claims import TOLERANCE

Numbers = NDArray[np.float64]

MAX_HEADER_BYTES = 1 << 20
_MAX_AXES = 16  # teem's NRRD_DIM_MAX; ITK has fewer

_LPS = np.array([-1.0, -1.0, 1.0])
_SPACES = {
    **dict.fromkeys(("left-posterior-superior", "lps"), _LPS),
    **dict.fromkeys(("right-anterior-superior", "ras"), np.ones(3)),
    **dict.fromkeys(("left-anterior-superior", "las"), np.array([-1.0, 1.0, 1.0])),
}
_NRRD_TYPES = {
    "i1": "signed char|int8|int8_t",
    "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t",
    "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float",
    "f8": "double",
}
_META_TYPES = {
    "i1": "MET_CHAR",
    "u1": "MET_UCHAR",
    "i2": "MET_SHORT",
    "u2": "MET_USHORT",
    "i4": "MET_INT",
    "u4": "MET_UINT",
    "i8": "MET_LONG_LONG",
    "u8": "MET_ULONG_LONG",
    "f4": "MET_FLOAT",
    "f8": "MET_DOUBLE",
}


class _Text(NamedTuple):
    """The fields of a header, its size, and what is wrong with them."""

    path: Path
    fields: dict[str, str]
    n_bytes: int
    problems: list[Problem]

    def tell(self, code: str, found: str, expected: str = "", fix: str = "") -> None:
        self.problems.append(Problem(code, str(self.path), found, expected, fix))

    def any_of(self, *names: str) -> str | None:
        """Return the first field that is there."""
        return next((self.fields[name] for name in names if name in self.fields), None)

    def numbers(self, *names: str) -> Numbers | None:
        """Return the numbers of a field; None where it is missing or holds others."""
        return _numbers(self.any_of(*names))


def claims_of(path: Path) -> Claims:
    """Return what the header of a file claims.

    Raises:
        DataError: E-IO, it cannot be read; E-ITK-TRUNC, it is empty; E-ITK-FORMAT, it is no NRRD
            and no MetaImage, or its lines are no header's.
    """
    try:
        with path.open("rb") as stream:
            if path.suffix in (".nrrd", ".nhdr"):
                return _of_nrrd(_nrrd_text(stream, path))
            return _of_meta(_meta_text(stream, path))
    except OSError as error:
        found = f"cannot be read: {error.strerror or error}"
        raise DataError(Problem("E-IO", str(path), found, "a readable file")) from error


def _nrrd_text(stream: BinaryIO, path: Path) -> _Text:
    if not re.fullmatch(rb"NRRD000[1-5]\r?\n", stream.readline(16)):
        raise _none(path, stream, "NRRD0001 to NRRD0005")

    def field(line: str) -> tuple[str, str] | None:
        if line.startswith("#") or re.match(r"[^:]*:=", line):
            return None  # a comment; a pair of the writer's own
        name, mark, value = line.partition(": ")
        return (name.strip().lower().replace(" ", ""), value.strip()) if mark else ("", "")

    return _fields(stream, path, field, last=lambda line: not line)


def _meta_text(stream: BinaryIO, path: Path) -> _Text:
    start = stream.read(64)
    stream.seek(0)
    if not re.match(rb"\s*(ObjectType|NDims|Comment|ObjectSubType)\s*=", start):
        raise _none(path, stream, "ObjectType = Image")

    def field(line: str) -> tuple[str, str] | None:
        name, mark, value = line.partition("=")
        return (name.strip(), value.strip()) if mark else ("", "") if name.strip() else None

    return _fields(stream, path, field, last=lambda line: line.startswith("ElementDataFile"))


def _none(path: Path, stream: BinaryIO, expected: str) -> DataError:
    stream.seek(0)
    code = "E-ITK-FORMAT" if stream.read(1) else "E-ITK-TRUNC"
    found = f"is not a {path.suffix} file: its first line is another" if "F" in code else "is empty"
    return DataError(Problem(code, str(path), found, expected))


def _fields(
    stream: BinaryIO,
    path: Path,
    field: Callable[[str], tuple[str, str] | None],
    *,
    last: Callable[[str], bool],
) -> _Text:
    """Read a header line by line to its last one, or to the end of a header that stands alone."""
    text = _Text(path, {}, 0, [])
    while line := stream.readline(MAX_HEADER_BYTES):
        # Latin-1 reads any byte; the fields that count are ASCII.
        plain = line.decode("latin-1").rstrip("\r\n")
        pair = field(plain) if plain else None
        if pair is not None:
            if pair[0] in ("", *text.fields):
                text.tell("E-ITK-FORMAT", "a line of its header is no field or a second one")
                raise DataError(*text.problems)
            text.fields[pair[0]] = pair[1]
        if last(plain):
            break
        if stream.tell() > MAX_HEADER_BYTES:
            text.tell("E-ITK-FORMAT", "its header does not end", f"{MAX_HEADER_BYTES} bytes")
            raise DataError(*text.problems)
    return text._replace(n_bytes=stream.tell())


def _of_nrrd(text: _Text) -> Claims:
    sizes = _sizes(text, "sizes", "dimension")
    for name in ("lineskip", "byteskip"):
        if text.fields.get(name, "0") != "0":
            text.tell("E-ITK-FORMAT", "skips a part of its data", "all of it", "export it again")
    for name in ("spaceunits", "units"):
        _check_units(text, re.findall(r'"([^"]*)"', text.fields.get(name, "")))
    encoding = text.fields.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz"):
        text.tell("E-ITK-FORMAT", "has an encoding that is not read", "raw or gzip")
    spatial, steps, spacing = _nrrd_steps(text, len(sizes or ()))
    origin = _vectors(text.fields.get("spaceorigin", ""))
    data, offset = _data_of(text, text.fields.get("datafile", "LOCAL"))
    order = {"little": "<", "big": ">"}.get(text.fields.get("endian", "").lower())
    return Claims(
        sizes=sizes,
        spatial=spatial,
        dtype=_dtype(text, _NRRD_TYPES, "type", order),
        steps_ras_mm=steps,
        spacing_mm=spacing,
        origin_ras_mm=None if len(origin) != 1 else origin[0] * _space(text),
        data=data,
        offset_bytes=offset,
        packed="" if encoding == "raw" else "gzip",
        problems=tuple(text.problems),
    )


def _nrrd_steps(text: _Text, n_axes: int) -> tuple[tuple[int, ...], Numbers | None, Numbers | None]:
    """Return which axes lie in space, the steps along them in RAS, and how long these are."""
    told = text.fields.get("spacedirections")
    if told is None:
        spacing = text.numbers("spacings")
        spatial = tuple(range(min(n_axes, 3)))
        return spatial, None, None if spacing is None else spacing[:3]
    axes = re.findall(r"none|\([^)]*\)", told)
    steps = _vectors(told)
    spatial = tuple(axis for axis, each in enumerate(axes) if each != "none")
    if len(axes) != n_axes or len(steps) != len(spatial):
        text.tell("E-ITK-FORMAT", "its space directions are no vectors", "(x,y,z) for each axis")
        return spatial, None, None
    if text.fields.get("space", "").lower() not in _SPACES:
        found = "its space is not one that tells the patient's sides"
        expected = "left-posterior-superior, or as right or anterior"
        text.tell("E-ITK-NOFORM", found, expected, "export it again")
    return spatial, steps * _space(text), np.linalg.norm(steps, axis=1)


def _space(text: _Text) -> Numbers:
    return _SPACES.get(text.fields.get("space", "").lower(), np.ones(3))


def _of_meta(text: _Text) -> Claims:
    sizes = _sizes(text, "DimSize", "NDims")
    if text.fields.get("BinaryData", "").lower() != "true":
        text.tell("E-ITK-FORMAT", "its voxels are text", "BinaryData = True")
    if text.fields.get("HeaderSize", "0") != "0":
        text.tell("E-ITK-FORMAT", "skips a part of its data", "all of it", "export it again")
    for end, nothing in (("Slope", 1.0), ("Offset", 0.0)):
        scale = text.numbers(f"ElementToIntensityFunction{end}")
        if scale is not None and scale.tolist() != [nothing]:
            text.tell("E-ITK-FORMAT", "scales its voxels", "values as they are stored")
    if text.fields.get("ElementNumberOfChannels", "1") != "1":
        text.tell("E-ITK-DIM", "a voxel has several channels", "one real number")
    _check_units(text, [text.fields.get("DistanceUnits", "")])
    packed: Packing = "zlib" if text.fields.get("CompressedData", "").lower() == "true" else ""
    steps, spacing = _meta_steps(text, len(sizes or ()))
    origin = text.numbers("Offset", "Origin", "Position")
    big = text.any_of("BinaryDataByteOrderMSB", "ElementByteOrderMSB") or ""
    data, offset = _data_of(text, text.fields.get("ElementDataFile", ""))
    return Claims(
        sizes=sizes,
        spatial=tuple(range(min(3, len(sizes or ())))),
        dtype=_dtype(
            text, _META_TYPES, "ElementType", {"true": ">", "false": "<"}.get(big.lower())
        ),
        steps_ras_mm=steps,
        spacing_mm=spacing,
        origin_ras_mm=None if origin is None or len(origin) < 3 else origin[:3] * _LPS,
        data=data,
        offset_bytes=offset,
        packed=packed,
        problems=tuple(text.problems),
    )


def _meta_steps(text: _Text, n_axes: int) -> tuple[Numbers | None, Numbers | None]:
    """Return the steps along the first three axes in RAS, and how long these are."""
    spacing = text.numbers("ElementSpacing")
    spacing = None if spacing is None or len(spacing) != n_axes else spacing[:3]
    matrix = text.numbers("TransformMatrix", "Orientation", "Rotation")
    if matrix is None or spacing is None or len(spacing) < 3:
        return None, spacing
    if len(matrix) != n_axes**2:
        text.tell("E-ITK-FORMAT", "its matrix and its dimension do not agree")
        return None, spacing
    cosines = matrix.reshape(n_axes, n_axes)[:3, :3]
    if not (np.abs(np.linalg.norm(cosines, axis=1) - 1) <= TOLERANCE).all():
        text.tell("E-ITK-AFFINE", "its matrix holds no directions", "rows of length 1")
        cosines = np.eye(3)
    return cosines * spacing[:, None] * _LPS, spacing


def _data_of(text: _Text, name: str) -> tuple[Path, int]:
    """Return the file of the voxels and where they begin in it."""
    folder, name = text.path.parent, name.removeprefix("./")
    if name.upper() == "LOCAL":
        return text.path, text.n_bytes
    data = folder / name
    if name != Path(name).name or re.search(r"[\\\0%]|^LIST\b", name):
        text.tell("E-ITK-DETACHED", "its voxels lie elsewhere", "one file of the same folder")
    elif data.resolve().parent != folder.resolve():
        text.tell("E-ITK-DETACHED", "a link leads its voxels away", "a file of the same folder")
    return data, 0


def _sizes(text: _Text, name: str, dimension: str) -> tuple[int, ...] | None:
    sizes = text.numbers(name)
    agreed = (
        sizes is not None
        and len(sizes) <= _MAX_AXES
        and str(len(sizes)) == text.fields.get(dimension)
    )
    if sizes is None or not agreed or not (np.isfinite(sizes) & (sizes == np.rint(sizes))).all():
        text.tell("E-ITK-FORMAT", "its sizes and its dimension do not agree", "a size an axis")
        return None
    return tuple(int(n) for n in sizes)


def _dtype(
    text: _Text, table: dict[str, str], name: str, order: str | None
) -> np.dtype[np.generic] | None:
    wanted = text.fields.get(name, "")
    for kind, names in table.items():
        if wanted in names.split("|"):
            if order is None and kind[1] != "1":
                text.tell("E-ITK-FORMAT", "does not tell its byte order", "little or big")
            return np.dtype((order or "<") + kind)
    text.tell("E-ITK-DIM", "a voxel is of a type that is not read", "one real number")
    return None


def _check_units(text: _Text, names: list[str]) -> None:
    if not {name.lower() for name in names} <= {"", "?", "???", "none", "mm"}:
        text.tell("E-ITK-UNITS", "its unit is another", "mm", "export it in mm")


def _vectors(told: str) -> Numbers:
    """Return the vectors ``(n, 3)`` in a text; none where one of them is not of 3 numbers."""
    rows = [_numbers(row.replace(",", " ")) for row in re.findall(r"\(([^)]*)\)", told)]
    three = [row for row in rows if row is not None and len(row) == 3]
    return np.array(three if len(three) == len(rows) else []).reshape(-1, 3)


def _numbers(told: str | None) -> Numbers | None:
    try:
        return np.array([float(number) for number in (told or "").split()]) if told else None
    except ValueError:
        return None
