"""Imports point downwards only, and each outside library has one home."""

import ast
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the top to the bottom; parts of one row do not know each other.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("bench",),
    ("stages",),
    ("runs", "pipeline"),
    ("bundle",),
    ("report", "engine"),
    ("models", "transforms", "losses", "metrics", "data"),
    ("io",),
    ("scan",),
    ("geometry", "labels", "queries", "resources", "machine", "ranks"),
    ("errors", "kernel", "lazy", "monai_probes", "splitmix"),
)
RANK = {part: len(LAYERS) - row for row, parts in enumerate(LAYERS) for part in parts}
# The package itself gathers the foundations, and gives its version to everyone. It also says how
# MONAI is imported, before any part of it can be.
FOUNDATIONS = {"scan", "geometry", "labels", "errors", "monai_probes"}

HOMES = {
    "nibabel": ("io/nifti*.py",),
    "mlflow": ("engine/tracking*.py", "bench/tracking.py"),
    "itk": ("io/itk.py",),
    "SimpleITK": ("io/itk.py",),
    "pydicom": ("io/dicom*.py", "io/rtstruct.py"),
    "highdicom": ("io/dicom*.py", "io/rtstruct.py"),
    "pynetdicom": ("io/dicom*.py",),
    "dicomweb_client": ("io/dicom*.py",),
    "ray": ("stages/ray*.py",),
    "fsspec": ("io/remote*.py",),
    "s3fs": ("io/remote*.py",),
    # These bring another torch along, or cannot be imported without a GPU build.
    "torchvision": (),
    "timm": (),
    "segmentation_models_pytorch": (),
}


def imported(source):
    """Return the dotted names that a file imports, at its top or inside a function."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used here"
            if node.module == "medseg":  # from medseg import resources
                names += [f"medseg.{alias.name}" for alias in node.names]
            else:
                names.append(node.module)
    return names


def violations(path, source):
    """Return what the file at `path`, relative to medseg/, imports against the rules."""
    own = path.split("/")[0].removesuffix(".py")
    rows = []
    for name in imported(source):
        top, part = [*name.split("."), ""][:2]
        if top != "medseg":
            homes = HOMES.get(top)
            if homes is not None and not any(fnmatch(path, home) for home in homes):
                rows.append(f"{path} imports {top}, whose place is {homes or 'nowhere'}")
        elif own == "__init__":
            if part not in FOUNDATIONS:
                rows.append(f"{path} imports {name}, which is no foundation")
        elif part in RANK and part != own and RANK[part] >= RANK[own]:
            rows.append(f"{path} imports {name}, which does not lie below it")
    return rows


def files():
    return sorted((ROOT / "medseg").rglob("*.py"))


def test_every_part_of_the_package_has_a_layer():
    parts = {file.relative_to(ROOT / "medseg").parts[0].removesuffix(".py") for file in files()}
    assert parts - {"__init__"} <= set(RANK)


def test_imports_point_downwards():
    rows = []
    for file in files():
        path = file.relative_to(ROOT / "medseg").as_posix()
        rows += violations(path, file.read_text(encoding="utf-8"))
    assert rows == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        pytest.param("io/png.py", "from medseg.data import store", id="upwards"),
        pytest.param("data/store.py", "import medseg.transforms", id="siblings"),
        pytest.param("engine/loop.py", "from medseg.report import figures", id="same row"),
        pytest.param("errors.py", "from medseg import geometry", id="from the package itself"),
        pytest.param("losses.py", "def f():\n    import medseg.engine", id="inside a function"),
        pytest.param("__init__.py", "from medseg.data import Manifest", id="heavy at the top"),
        pytest.param("data/uwmgi.py", "import nibabel as nib", id="nibabel outside io"),
        pytest.param("stages/train.py", "from mlflow.data import x", id="mlflow outside tracking"),
        pytest.param("io/dicom.py", "import SimpleITK", id="ITK in a DICOM file"),
        pytest.param("io/rtstruct.py", "import pynetdicom", id="the network in a file format"),
        pytest.param("stages/cohort.py", "import ray", id="Ray outside its modules"),
        pytest.param("models/unet.py", "import timm", id="a library that has no place"),
    ],
)
def test_the_guard_catches(path, source):
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        pytest.param("cli/run.py", "from medseg.stages.run import run", id="one layer down"),
        pytest.param("cli/data.py", "from medseg.errors import DataError", id="many layers down"),
        pytest.param("data/store.py", "from medseg.data.rle import decode", id="its own part"),
        pytest.param("cli/doctor.py", "from medseg import __version__", id="the version"),
        pytest.param("io/nifti_header.py", "import nibabel", id="nibabel at home"),
        pytest.param("engine/tracking.py", "import mlflow.data", id="mlflow at home"),
        pytest.param("io/dicom_seg.py", "import highdicom", id="highdicom at home"),
        pytest.param("metrics/overlap.py", "import medsegment", id="a name that only looks alike"),
    ],
)
def test_the_guard_allows(path, source):
    assert violations(path, source) == []
