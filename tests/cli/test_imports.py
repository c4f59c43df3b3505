"""A command imports what it needs: one that reads files waits for no tensor library."""

import subprocess
import sys

import pytest

from medseg.data.label_files import find_references, read_reference
from medseg.data.manifest import read_manifest
from medseg.io.nifti import write_label_map

HEAVY = ("torch", "monai", "ignite", "transformers", "mlflow", "matplotlib", "pandas")
ASK = """
import sys
from medseg.cli import main
code = main(sys.argv[1:])
print(code, [name for name in {heavy} if name in sys.modules])
"""


@pytest.fixture(scope="module")
def data(tiny_phantom, tmp_path_factory):
    """The phantom's root, and a folder of its references as predictions, by what a word means."""
    predictions = tmp_path_factory.mktemp("predictions")
    labels = read_manifest("uwmgi").labels
    for scan_id, reference in find_references(tiny_phantom, read_manifest("uwmgi")).items():
        truth = read_reference(reference, labels)
        label_map = labels.label_map(list(truth.masks))
        write_label_map(predictions / f"{scan_id}.nii.gz", label_map, truth.grid, labels=labels)
    return {"DATA": str(tiny_phantom), "PREDICTIONS": str(predictions)}


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        pytest.param(("doctor",), ["torch"], id="doctor asks torch for devices"),
        pytest.param(("bundle", "list"), [], id="bundle list"),
        pytest.param(("data", "info"), [], id="data info"),
        pytest.param(("data", "check", "--data", "DATA"), [], id="data check"),
        pytest.param(("data", "split", "--data", "DATA"), [], id="data split"),
        pytest.param(("evaluate", "PREDICTIONS", "DATA"), [], id="evaluate"),
    ],
)
def test_a_command_imports_no_more_than_it_needs(words, needed, data, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", ASK.format(heavy=HEAVY), *(data.get(word, word) for word in words)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.splitlines()[-1] == f"0 {needed}", done.stderr
