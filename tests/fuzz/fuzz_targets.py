"""What is fuzzed: each parser as a function of bytes, and sound inputs to begin from.

The law is the same for all: a value, or a `MedsegError` whose problems are told in lines that a
terminal can take. Whoever runs a target sees anything else as an exception.
"""

import gzip
import os
import struct
import zlib
from atexit import register
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import NamedTuple

import fuzz_seeds
import numpy as np

from medseg.bundle.configuration import Bundle
from medseg.bundle.trust import told
from medseg.data.dataset_json import read_dataset_json
from medseg.data.kaggle_csv import COLUMNS, SUBMITTED, read_labels
from medseg.data.label_files import find_label_files
from medseg.data.manifest import read_manifest
from medseg.data.slice_folder import parse_name
from medseg.data.splits import read_splits
from medseg.data.study_list import read_study_list
from medseg.data.table import read_table
from medseg.errors import MedsegError, Problem
from medseg.io.itk import read_itk
from medseg.io.nifti import read_image, read_label_map
from medseg.io.pictures import read_picture, read_picture_header
from medseg.io.png import read_header, read_slice
from medseg.io.rle import decode, problems
from medseg.io.strict_yaml import read
from medseg.labels import LabelSet, Organ
from medseg.report.scores import read_csv

# A message names files and counts; one as long as a page was made of the input.
LONGEST_LINE = 8000
_LABELS = LabelSet((Organ("liver", 1, (9, 9, 9), "", "liver"),), ("liver",))


class Target(NamedTuple):
    """A parser.

    Attributes:
        read: Reads bytes, which it may write to a file first.
        seeds: Makes sound inputs.
        words: What the format is made of, for mutations to put in.
    """

    read: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    words: Sequence[bytes] = ()


def require_lawful(target: Target, data: bytes) -> bool:
    """Run a target on an input; raise whatever breaks the law, and tell whether it was read."""
    try:
        found = target.read(data)
    except MedsegError as error:
        require_readable(error.problems)
        return False
    require_readable(getattr(found, "problems", ()), at_least=0)
    return bool(found)


def require_readable(rows: Sequence[Problem], *, at_least: int = 1) -> None:
    """Require that problems are lines of a bounded length."""
    if len(rows) < at_least:
        raise AssertionError("an error without a problem")
    for problem in rows:
        line = str(problem)
        if not line.isprintable() or len(line) > LONGEST_LINE or not problem.found:
            raise AssertionError(f"{len(line)} characters: {line[:200]!r}")


@cache
def folder() -> Path:
    """A folder for the inputs of this process, which goes when it ends."""
    made = Path(mkdtemp(prefix="medseg-fuzz-"))
    register(rmtree, made, ignore_errors=True)
    return made


def _file(name: str, data: bytes) -> Path:
    path = folder() / name
    path.write_bytes(data)
    return path


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _tried(*readers: Callable[[], object]) -> int:
    """Read one input in several ways, each of which may refuse it; return how many did not."""
    read = 0
    for reader in readers:
        try:
            reader()
            read += 1
        except MedsegError as error:
            require_readable(error.problems)
    return read


def _of_file(name: str, reader: Callable[[Path], object], data: bytes) -> object:
    return reader(_file(name, data))


def _rle(data: bytes) -> int:
    rows = _text(data).split("\n")
    require_readable(problems(rows, (12, 7)), at_least=0)
    return _tried(*(partial(decode, row, (12, 7)) for row in rows[:8]))


def _manifest(data: bytes) -> int:
    path = _file("some.yaml", data)
    return _tried(partial(read, path), partial(read_manifest, path))


def _bundle(data: bytes) -> int:
    root = folder() / "bundle"
    (root / "configs").mkdir(parents=True, exist_ok=True)
    for name in ("configs/train.json", "configs/metadata.json", "config.json"):
        (root / name).write_bytes(data)
    return _tried(partial(Bundle(root).written, "train"), partial(told, root))


def _labels_csv(data: bytes) -> object:
    path = _file("train.csv", data)
    return read_labels(path, ("liver", "stomach"), forms=(COLUMNS, SUBMITTED))


def _study_list(data: bytes) -> int:
    return _tried(
        *(partial(read_study_list, _file(f"list{end}", data)) for end in (".csv", ".json"))
    )


def _png(data: bytes) -> int:
    paths = _file("as.png", data), _file("mended.png", mended_png(data))
    readers = read_header, read_slice, read_picture_header, read_picture
    return _tried(*(partial(reader, path) for path in paths for reader in readers))


def _tiff(data: bytes) -> int:
    path = _file("some.tif", data)
    return _tried(partial(read_picture_header, path), partial(read_picture, path))


def _nifti(data: bytes) -> int:
    paths = _file("as.nii", data), _file("packed.nii.gz", gzip.compress(data, 1))
    allowing = partial(read_image, use="qform", assume_ras=True, nan_to_min=True)
    readers = read_image, read_label_map, allowing
    return _tried(*(partial(reader, path) for path in paths for reader in readers))


def _nifti_gz(data: bytes) -> int:
    return _tried(partial(read_image, _file("as.nii.gz", data)))


def _itk(suffix: str, data: bytes) -> int:
    path = _file(f"some{suffix}", data)
    return _tried(
        partial(read_itk, path), partial(read_itk, path, assume_ras=True, nan_to_min=True)
    )


def _dicom(data: bytes) -> int:
    from medseg.io.dicom_pixels import read_series
    from medseg.io.dicom_series import find_series

    path = _file("some.dcm", data)
    return _tried(lambda: [read_series(series) for series in find_series(path)])


def _dataset_json(data: bytes) -> int:
    _file("dataset.json", data)
    return _tried(partial(read_dataset_json, folder()))


def _splits(data: bytes) -> int:
    path = _file("splits.json", data)

    def folds() -> None:
        splits = read_splits(path)
        for index in range(len(splits.groups)):
            _tried(partial(splits.fold, index))

    return _tried(folds)


def _label_folder(data: bytes) -> int:
    """Take each line as a name in a folder of label maps."""
    root = Path(mkdtemp(dir=folder()))
    for name in data.replace(b"/", b"").replace(b"\0", b"").split(b"\n")[:20]:
        if name[:200] not in (b"", b".", b".."):
            (root / os.fsdecode(name[:200])).touch()
    read = _tried(lambda: find_label_files(root, _LABELS))
    for path in root.iterdir():
        path.unlink()
    root.rmdir()
    return read


def mended_png(data: bytes) -> bytes:
    """Return a PNG whose checksums are right again, so that what is behind them is reached.

    Bytes of pixels are taken as not yet compressed, and are.
    """
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + size]
        if kind == b"IDAT":
            body = zlib.compress(body, 1)
        length = struct.pack(">I", len(body) if len(body) <= size or kind == b"IDAT" else size)
        parts.append(length + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
        at += 12 + size
    return b"".join(parts)


_NNUNET = {"channel_names": {"0": "T2"}, "labels": {"background": 0, "liver": 1}}
_DECATHLON = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"}}
_STUDIES = [{"image": "a/b", "name": "case1"}, {"image": "c", "series": "401"}]
_NUMBERS = (b"0", b"-1", b"1e309", b"nan", b"9" * 30, b"9" * 5000, "²".encode())
_JSON = (b"{", b"[", b"]", b"}", b'"', b",", b":", b"null", b"true", b'"\\ud800"', b"[" * 3000)
_CSV = (b",", b'"', b"\n", b"\r", b"\0", b'"\n', b"\xef\xbb\xbf", b"x" * 140_000, *_NUMBERS)
_YAML = (b": ", b"- ", b"&a ", b"*a", b"!!python/name:os.system ", b"|", b"%", b"\t", b"---\n")
_TIMES = (b"2024-13-01", b"0x", b"1_0", b"1:60", b"0o8", b"<<: ", b"? ", b"2001-1-1t1:1:1z")
_SIZES = (b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4), b"\x80\0\0\0")
_FLOATS = tuple(struct.pack("<f", x) for x in (np.nan, np.inf, -1.0, 1e38, 1e-40, 3e9))

TARGETS = {
    "rle": Target(_rle, lambda: [b"1 3 7 2", b"", b"nan\n1 1"], (*_NUMBERS, b",", b"\x0b", b"+")),
    "file names": Target(
        lambda data: parse_name(_text(data)),
        lambda: [b"slice_0088_360_310_1.50_1.50.png"],
        (*_NUMBERS, b"_", b".png", b"\n"),
    ),
    "manifests": Target(
        _manifest,
        fuzz_seeds.manifests,
        (*_YAML, *_TIMES, *_NUMBERS),
    ),
    "bundle JSON": Target(
        _bundle,
        lambda: [b'{"epochs": 3, "network_def": {"_target_": "x"}}', fuzz_seeds.shipped_bundle()],
        (*_JSON, *_NUMBERS, b"$", b"@", b"%", b"::", b"#", b"_mode_", b'"_target_": "'),
    ),
    "label tables": Target(_labels_csv, lambda: fuzz_seeds.LABELS, (*_CSV, b"_slice_")),
    "study lists": Target(
        _study_list,
        lambda: [b"image,name,series\nmr/0007,case7_day0,\n", *fuzz_seeds.as_json(_STUDIES)],
        (*_JSON, *_CSV),
    ),
    "tables of images": Target(
        lambda data: _of_file("table.csv", read_table, data),
        lambda: [b"image,mask,patient\ntable.csv,,a\n", b"image_0,image_1,mask\nx.nii.gz,y.nii,z"],
        _CSV,
    ),
    "scores": Target(lambda data: _of_file("s.csv", read_csv, data), fuzz_seeds.score_seeds, _CSV),
    "splits": Target(_splits, fuzz_seeds.split_seeds, (*_JSON, *_NUMBERS)),
    "dataset.json": Target(
        _dataset_json,
        lambda: fuzz_seeds.as_json(_NNUNET, _DECATHLON),
        (*_JSON, *_NUMBERS),
    ),
    "label folders": Target(
        _label_folder,
        lambda: [b"case1_day0.nii.gz\ncase1_day0_liver.nii.gz", b"case1.nii\ncase1.nii.gz"],
        (b"_liver", b".nii", b".gz", b"_probs", *_NUMBERS),
    ),
    "PNG": Target(
        _png, fuzz_seeds.png_seeds, (*_SIZES, b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS")
    ),
    "TIFF": Target(_tiff, fuzz_seeds.tiff_seeds, (*_SIZES, b"\x04\0\xff\xff\xff\xff")),
    "NIfTI": Target(_nifti, fuzz_seeds.nifti_seeds, (*_SIZES, *_FLOATS)),
    "NIfTI, compressed": Target(
        _nifti_gz, lambda: [gzip.compress(seed, 1) for seed in fuzz_seeds.nifti_seeds()], _SIZES
    ),
    "NRRD": Target(
        partial(_itk, ".nrrd"), partial(fuzz_seeds.itk_seeds, ".nrrd"), (*_NUMBERS, b": ")
    ),
    "MetaImage": Target(
        partial(_itk, ".mha"), partial(fuzz_seeds.itk_seeds, ".mha"), (*_NUMBERS, b"= ")
    ),
    "DICOM": Target(_dicom, fuzz_seeds.dicom_seeds, (*_SIZES, b"SQ", b"\xfe\xff\xdd\xe0", b"\\")),
}
