"""MONAI imported without what it only may need works as MONAI does, once it needs it."""

import copy
import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location

import numpy as np
import pytest

from medseg import monai_probes
from medseg.monai_probes import Deferred, deferring, resolved

LISTED = """
import json, sys
import monai
print(json.dumps(sorted(name for name in sys.modules if name.split(".")[0] == "monai")))
"""

# What users of MONAI do with the packages that were not there while it was imported.
USED = """
import json, sys
from pathlib import Path
import numpy as np
import medseg
import monai
from medseg.monai_probes import DEFERRED, Deferred, resolved

own = sorted(name for name in sys.modules if name.split(".")[0] == "monai")
assert [name for name in DEFERRED if name in sys.modules] == []
assert not any("medseg" in str(finder) for finder in sys.meta_path)

folder = Path(sys.argv[1])
from monai.data import ITKReader, ITKWriter, MetaTensor, NibabelReader, NibabelWriter
image = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
for writer, readers in ((NibabelWriter, (NibabelReader, ITKReader)), (ITKWriter, (ITKReader,))):
    file = folder / f"{writer.__name__}.nii.gz"
    made = writer(output_dtype=np.float32)
    made.set_data_array(image, channel_dim=None)
    made.set_metadata({"affine": np.eye(4), "original_affine": np.eye(4)})
    made.write(file)
    for reader in readers:
        held = reader()
        assert held.verify_suffix(file)
        found, facts = held.get_data(held.read(file))
        assert np.array_equal(np.squeeze(found), image), (writer, reader)
assert monai.transforms.LoadImage(image_only=True)(file).shape == (2, 3, 4)

import pandas
assert type(sys.modules["pandas"]) is type(sys)
frame = pandas.DataFrame({"image": ["a", "b"], "age": [30, 40]})
frame.to_csv(folder / "rows.csv", index=False)
for source in (frame, str(folder / "rows.csv")):
    assert [row["age"] for row in monai.data.CSVDataset(src=source)] == [30, 40]

import torch
from monai.metrics.embedding_collapse import EmbeddingCollapseMetric
points = torch.cat([torch.eye(4)[:2].repeat(9, 1), torch.eye(4)[2:].repeat(9, 1)])
points = points + torch.arange(36)[:, None] / 1000
assert all(v is not None for v in EmbeddingCollapseMetric()(
    points, torch.arange(2).repeat_interleave(18), points + 1).values())

# The transform that filters with it needs torchaudio too.
from monai.transforms.signal.array import has_iirnotch, iirnotch
assert has_iirnotch
assert [len(part) for part in iirnotch(0.2, 30.0)] == [3, 3]

# The network built of it fetches weights.
from monai.networks.nets import transchex
layer = transchex.BertLayer(transchex.BertConfig(hidden_size=12, num_attention_heads=1))
assert isinstance(layer, torch.nn.Module)

from monai.handlers import mlflow_handler
assert type(mlflow_handler.mlflow) is Deferred
handler = mlflow_handler.MLFlowHandler(tracking_uri="http://127.0.0.1:9")
import mlflow
assert mlflow_handler.mlflow is mlflow
assert issubclass(mlflow_handler.MlflowException, Exception)
class Failing:
    def get_experiment_by_name(self, name):
        raise KeyError(name)
handler.client = Failing()
try:
    handler._set_experiment()
except KeyError:
    pass

# What MONAI was told is there is there.
missing = []
for module in [m for name, m in sorted(sys.modules.items()) if name.startswith("monai")]:
    for name, value in list(vars(module).items()):
        if type(value) is Deferred and type(resolved(value)).__name__ == "_LazyRaise":
            missing.append(name)
        assert type(vars(module)[name]) is not Deferred, name
print(json.dumps([own, missing]))
"""


def python(code, folder):
    """Run `code` in a process of its own, in and with `folder`, and return its last line.

    MLflow leaves a store in the working directory.
    """
    command = [sys.executable, "-W", "ignore", "-c", code, str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_monai_loads_the_same_files_of_its_own_and_uses_the_packages_as_ever(tmp_path):
    own, missing = json.loads(python(USED, tmp_path))
    assert own == json.loads(python(LISTED, tmp_path))
    # transformers 5 has no such function; MONAI asks for it and ignores whether it is there.
    assert set(missing) <= {"load_tf_weights_in_bert"}


def test_nothing_happens_when_monai_is_imported_already():
    import monai

    before = list(sys.meta_path)
    monai_probes.defer()
    assert sys.meta_path == before
    assert monai.utils.optional_import("json")[1]


class Probe:
    """Stands for MONAI's probe: counts, and returns what it is made to."""

    def __init__(self, result=None, *, there=True):
        self.result, self.there, self.asked = result, there, []

    def __call__(self, module, *args, **options):
        self.asked.append((module, *args, *options.values()))
        return self.result, self.there


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """Import a line of code as a file of MONAI that asks `probe`, and return the file's names."""
    for name in [name for name in sys.modules if name.split(".")[0] == "pydicom"]:
        monkeypatch.delitem(sys.modules, name)

    def import_line(probe, line, *, name="monai.data.reader"):
        path = tmp_path / "reader.py"
        path.write_text(line)
        spec = spec_from_file_location(name, path)
        module = module_from_spec(spec)
        module.optional_import = deferring(probe)
        spec.loader.exec_module(module)
        return vars(module)

    return import_line


def test_a_file_gets_the_thing_itself_on_first_use(imported):
    probe = Probe(np.float64)
    file = imported(probe, "real, has = optional_import('pydicom', '3.0', name='float')")
    assert (type(file["real"]), file["has"], probe.asked) == (Deferred, True, [])
    assert file["real"](2) == 2.0
    assert file["real"] is np.float64
    assert probe.asked == [("pydicom", "3.0", "float")]


def test_who_took_the_stand_in_along_asks_once(imported):
    probe = Probe(np.float64)
    taken = imported(probe, "real, _ = optional_import('pydicom')")["real"]
    assert taken.__name__ == "float64"
    assert isinstance(np.float64(1), taken)
    assert not isinstance(1, taken)
    assert issubclass(np.float64, taken)
    assert len(probe.asked) == 1


def test_an_attribute_that_the_file_sets_reaches_the_thing(imported):
    class Package:
        pass

    probe = Probe(Package)
    call = "p, _ = optional_import('pydicom')\np.part, _ = optional_import('pydicom.data')"
    file = imported(probe, call)
    assert probe.asked == []
    assert file["p"].__name__ == "Package"
    assert file["p"] is Package
    assert Package.part is Package


def test_other_names_of_an_imported_module_are_settled_with_the_first(imported, monkeypatch):
    probe = Probe(ValueError)
    call = "p, _ = optional_import('pydicom')\nFault, _ = optional_import('pydicom', name='Fault')"
    file = imported(probe, call)
    monkeypatch.setitem(sys.modules, "pydicom", Probe())
    assert resolved(file["p"]) is ValueError
    assert file["Fault"] is ValueError


def test_copies_are_the_thing_itself(imported):
    file = imported(Probe(np.float64), "real, _ = optional_import('pydicom')")
    assert copy.deepcopy(file["real"]) is np.float64
    again, request = Deferred(always, ("pydicom",), {}, {}).__reduce__()
    assert again(*request) is np.float64


def always(module):
    return np.float64, True


@pytest.mark.parametrize(
    ("call", "name"),
    [
        pytest.param("optional_import('json')", "monai.data.x", id="not listed"),
        pytest.param("optional_import('itkwidgets')", "monai.data.x", id="begins like one listed"),
        pytest.param("optional_import('pydicom')", "mine", id="by a file that is not MONAI's"),
        pytest.param(
            "(lambda: optional_import('pydicom'))()", "monai.data.x", id="inside a function"
        ),
        pytest.param(
            "optional_import('pydicom', as_type='base')", "monai.data.x", id="for a base class"
        ),
    ],
)
def test_any_other_probe_is_monais(imported, call, name):
    probe = Probe(there=False)
    file = imported(probe, f"thing, has = {call}", name=name)
    assert (file["thing"], file["has"], len(probe.asked)) == (None, False, 1)


def test_what_is_imported_already_is_not_deferred(imported, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", Probe())
    probe = Probe("module")
    assert imported(probe, "thing, _ = optional_import('pydicom')")["thing"] == "module"


def test_what_is_not_installed_is_told_at_once(imported, monkeypatch):
    monkeypatch.setattr(monai_probes, "DEFERRED", ("nosuchpackage",))
    probe = Probe(there=False)
    assert imported(probe, "_, has = optional_import('nosuchpackage.part')")["has"] is False
    assert len(probe.asked) == 1
