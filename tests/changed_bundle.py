"""Copies of a bundle that somebody changed, and what the refusal of one tells."""

import json
import shutil

import pytest

from medseg import resources
from medseg.bundle import find_bundle
from medseg.errors import UnsafeError


def copied(folder, name="uwmgi_segformer"):
    """Copy a shipped bundle into a folder that is not there, and return it."""
    return shutil.copytree(resources.shipped("bundles", name), folder)


def change(bundle, name="train", **values):
    """Lay values over a file of a bundle; those of keys that are there are replaced."""
    file = bundle / "configs" / f"{name}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def refused(bundle):
    """Return what the refusal of a bundle tells, a line a thing that would run."""
    with pytest.raises(UnsafeError, match="E-TRUST") as caught:
        find_bundle(bundle)
    assert caught.value.exit_code == 5
    first, *rows = caught.value.problems
    assert first.subject == str(bundle)
    assert "medseg bundle trust" in first.fix
    return [f"{row.subject}: {row.found}" for row in rows]
