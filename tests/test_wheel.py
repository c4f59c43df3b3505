"""What a wheel holds is enough: in an empty folder, far from the source tree, medseg works."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from medseg import __version__, resources


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, repository):
    """The wheel, built from the source tree."""
    out = tmp_path_factory.mktemp("wheel")
    words = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(repository)]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean(tmp_path_factory, wheel):
    """A function that runs a program of a fresh environment, with only the wheel, in a folder."""
    home = tmp_path_factory.mktemp("clean")
    venv.create(home, with_pip=False)
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / Path(sys.executable).name
    words = ["install", "--no-index", "--no-deps", "--quiet", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *words], check=True)
    # The dependencies are borrowed. A folder named in a .pth file is searched, its own .pth files
    # are not read: an editable medseg beside the dependencies stays out of sight.
    (site,) = home.glob("**/site-packages")
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV_"))}

    def run(program, *words, cwd):
        done = subprocess.run(
            [str(scripts / program), *words],
            cwd=cwd,
            env=environment | {"PYTHONNOUSERSITE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.home = home
    return run


def test_the_wheel_holds_what_is_shipped_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"medseg", f"medseg-{__version__}.dist-info"}
    for bundle in resources.names("bundles"):
        assert f"medseg/share/bundles/{bundle}/configs/train.json" in names
    for manifest in resources.names("data_manifests"):
        assert f"medseg/share/data_manifests/{manifest}.yaml" in names
    for template in ("base.html", "run.html", "comparison.html", "parts.html", "style.css"):
        assert f"medseg/report/templates/{template}" in names
    assert f"medseg-{__version__}.dist-info/licenses/LICENSE" in names
    viewer = "medseg/report/viewer"
    for name in ("index.html", "vendored/niivue.js", "vendored/LICENSE"):
        assert f"{viewer}/{name}" in names
    assert [name for name in names if name.endswith((".pt", ".safetensors", ".ts", ".pyc"))] == []


def test_the_installed_package_is_the_wheels(clean, tmp_path):
    code = (
        "import medseg; from medseg.resources import shipped;"
        "print(medseg.__file__); print(shipped('bundles', 'uwmgi_segformer'))"
    )
    for line in clean(Path(sys.executable).name, "-c", code, cwd=tmp_path).splitlines():
        assert Path(line).is_relative_to(clean.home.resolve())
        assert Path(line).exists()


def test_help_and_version_answer_in_an_empty_folder(clean, tmp_path):
    assert clean("medseg", "--help", cwd=tmp_path).startswith("Usage: medseg")
    assert clean("medseg", "--version", cwd=tmp_path).strip() == f"medseg, version {__version__}"
    assert list(tmp_path.iterdir()) == []


def test_the_shipped_bundles_are_listed_in_an_empty_folder(clean, tmp_path):
    rows = json.loads(clean("medseg", "bundle", "list", "--json", cwd=tmp_path))["bundles"]
    assert [row["name"] for row in rows] == resources.names("bundles")
    assert all(Path(row["folder"]).is_relative_to(clean.home.resolve()) for row in rows)


def test_doctor_finds_every_requirement_of_the_wheel(clean, tmp_path):
    told = json.loads(clean("medseg", "doctor", "--json", cwd=tmp_path))
    assert told["medseg"] == __version__
    assert [row for row in told["problems"] if row["level"] == "error"] == []


def test_the_main_job_runs_in_an_empty_folder(clean, tiny_phantom, tmp_path):
    told = clean(
        "medseg",
        *("run", "uwmgi_segformer", "--data", str(tiny_phantom), "--demo", "--device", "cpu"),
        *("--set", "roi_px=[64, 64]", "--set", "epochs=1", "--set", "epoch_length=1"),
        cwd=tmp_path,
    )
    assert "run: runs/uwmgi_segformer_demo/" in told
    assert len(list(tmp_path.glob("runs/*/*/predictions/*.nii.gz"))) == 2
