"""Checks of the self-test: damaged, hostile and oversized files, and a full disk."""

import json
import resource
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medseg.bundle import find_bundle
from medseg.engine.checkpoint_files import BEST, LAST, PREVIOUS, fault_of, first_sound
from medseg.engine.checkpoints import read_checkpoint
from medseg.errors import MedsegError
from medseg.geometry import lpi_grid
from medseg.io.atomic import replacing
from medseg.io.nifti import read_image, write_image
from medseg.io.png import read_slice
from medseg.resources import shipped
from medseg.stages.self_test_ground import Ground, UnexpectedError, expect
from medseg.stages.self_test_training import KILLED, run_of

_LIMIT_BYTES = 1 << 16


def damaged_checkpoint(ground: Ground) -> str:
    """Change one bit of a checkpoint, then of all."""
    run = run_of(ground, KILLED)
    folder = ground.folder / "damaged"
    shutil.copytree(run.folder / "checkpoints", folder)
    last, previous, best = (folder / name for name in (LAST, PREVIOUS, BEST))
    _flip(last)
    expect(fault_of(last), "a changed bit was not noticed")
    expect(first_sound([last, previous]) == previous, "the one before was not taken")
    _flip(previous)
    _flip(best)
    code = _refusal(lambda: first_sound([best, last, previous]), "E-CKPT")
    return f"one changed bit: the one before is taken; in all: {code}"


def hostile_checkpoint(ground: Ground) -> str:
    """Read a checkpoint that asks for a function to be called."""
    canary, path = ground.folder / "canary of a checkpoint", ground.folder / "hostile.pt"
    torch.save({"network": _Hostile(canary)}, path)
    code = _refusal(lambda: read_checkpoint(path), "E-CKPT-UNSAFE")
    expect(not canary.exists(), "it was refused, but its function was called")
    return f"{code}, and nothing in it was called"


def hostile_bundle(ground: Ground) -> str:
    """Open a bundle with code of its own."""
    canary, bundle = ground.folder / "canary of a bundle", ground.folder / "hostile"
    shutil.copytree(shipped("bundles", "uwmgi_unext"), bundle)
    file = bundle / "configs" / "train.json"
    call = f"$__import__('pathlib').Path({str(canary)!r}).touch()"
    system = {"_target_": "os.system", "command": f"touch '{canary}'"}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"seed": call, "loss": system}))
    code = _refusal(lambda: find_bundle(bundle), "E-TRUST")
    expect(not canary.exists(), "it was refused, but its code was run")
    return f"{code}, and none of its code was run"


def full_disk(ground: Ground) -> str:
    """Replace a file on a disk that fills up at 64 KiB."""
    path = ground.folder / "full" / "state.bin"
    with replacing(path) as stream:
        stream.write(b"before")
    with _full_at(_LIMIT_BYTES):
        code = _refusal(lambda: _write(path, bytes(2 * _LIMIT_BYTES)), "E-DISK")
    expect(path.read_bytes() == b"before", "the file is not what it was")
    left = [each.name for each in path.parent.iterdir() if each != path]
    expect(not left, f"{', '.join(left)} was left behind")
    return f"{code}, the old file stays and nothing else"


def bombs(ground: Ground) -> str:
    """Read a small PNG that claims 400 million pixels, and a NIfTI file that was cut off."""
    png = ground.folder / "bomb.png"
    png.write_bytes(_png(20_000, 20_000, zlib.compress(bytes(1 << 16))))
    codes = [_refusal(lambda: read_slice(png), "E-TOO-LARGE")]
    cut = ground.folder / "cut.nii.gz"
    noise = np.random.default_rng(0).random((24, 24, 8), np.float32)
    write_image(cut, noise, lpi_grid(noise.shape, (1.5, 1.5, 3.0)))
    cut.write_bytes(cut.read_bytes()[:-4000])
    codes.append(_refusal(lambda: read_image(cut), "E-NII-TRUNC"))
    return f"{codes[0]} before decoding, {codes[1]}"


class _Hostile:
    """Pickled, it makes whoever reads it make a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.canary,)


def _refusal(act: Callable[[], Any], code: str) -> str:
    """Return the code that an act is refused with, if it is the one."""
    try:
        act()
    except MedsegError as error:
        found = error.problems[0].code
        expect(found == code, f"it was refused with {found} in place of {code}")
        return found
    raise UnexpectedError(f"it was not refused with {code}")


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@contextmanager
def _full_at(size_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as stream:
        stream.write(content)


def _png(width: int, height: int, data: bytes) -> bytes:
    """Return a PNG of 16-bit grey with a header of one's own (PNG 11.2.2)."""
    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
