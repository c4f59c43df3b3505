"""What is vendored is what its note says, with its licence, and calls nobody."""

import hashlib
import re
from pathlib import Path

import medseg.report

FOLDER = Path(medseg.report.__file__).parent / "viewer" / "vendored"
CODE = (FOLDER / "niivue.js").read_text(encoding="utf-8")
NOTE = (FOLDER / "README.md").read_text(encoding="utf-8")


def test_it_is_the_file_that_the_note_names():
    assert f"`{hashlib.sha256((FOLDER / 'niivue.js').read_bytes()).hexdigest()}`" in NOTE
    (version,) = re.findall(r"`@niivue/niivue` (\d+\.\d+\.\d+)", NOTE)
    assert f"npm pack @niivue/niivue@{version} " in NOTE
    assert f'"{version}"' in CODE


def test_the_licences_are_kept():
    licence = (FOLDER / "LICENSE").read_text(encoding="utf-8")
    assert licence.startswith("BSD 2-Clause License\n\nCopyright (c) 2021, Niivue")
    parts = (FOLDER / "LICENSES-of-parts.txt").read_text(encoding="utf-8")
    for name in ("fflate", "gl-matrix", "nifti-reader-js", "numcodecs", "zarrita", "Roboto"):
        assert re.search(rf"^{name}\b", parts, re.MULTILINE)


def test_addresses_in_it_are_remarks():
    addresses = set(re.findall(r"https?://[^\s\"'`)]+", CODE))
    hosts = {re.sub(r"https?://([^/]+).*", r"\1", address) for address in addresses}
    # All of them explain a line of a shader, or say where to report a fault.
    assert hosts == {
        *("bgolus.medium.com", "en.wikipedia.org", "gamedev.stackexchange.com", "github.com"),
        *("math.stackexchange.com", "stackoverflow.com", "webglfundamentals.org"),
        "www.aclockworkberry.com",
    }
