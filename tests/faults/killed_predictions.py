"""Predictions of a small cohort that may be killed anywhere, for `kill_driver`."""

import json
import os
import shutil

from untrained_run import untrained_run

from medseg.cli import main
from medseg.data import read_manifest, read_scans
from medseg.data.phantom import write_phantom
from medseg.engine.provenance import sha256_of
from medseg.io.nifti import read_label_map
from medseg.stages import predict
from medseg.stages.study_record import Records

STUDIES = 3
# Times, and what was met on the way.
_MADE_BY = "made_by"


def begun(folder):
    """Make a run of an untrained network and three scans; FOLDER/work holds no predictions."""
    data = write_phantom(folder / "data", patients=3, days=1, tiny=True)
    run = untrained_run(data, folder / "runs")
    (folder / "run").symlink_to(run.folder)
    work(folder)  # what is loaded once is loaded then
    shutil.rmtree(folder / "work")
    (folder / "work").mkdir()


def work(folder, *, again=False):
    """Do what ``medseg predict`` does; what goes on reads no study ahead."""
    predict.READ_AHEAD = 0 if again else 2
    scans = read_scans(folder / "data", read_manifest("uwmgi"))
    inputs = [str(scan.slice_files[0].parent.parent) for scan in scans]
    words = ["--set", "ranges={}", "--device", "cpu", "-q", "-o", str(folder / "work")]
    if code := main(["predict", str(folder / "run"), *inputs, *words]):
        os._exit(code)


def tell_each(tell):
    """Let the process tell of each study whose record is written."""
    end = Records.end

    def ended(self, names, row, files):
        done = end(self, names, row, files)
        tell()
        return done

    Records.end = ended


def judged(folder, finished):
    """Return what has a name and is not whole, and how many finished studies are lost."""
    out = folder / "work"
    bad, complete = [], 0
    for path in sorted(out.glob("[!.]*.json")):
        row = json.loads(path.read_text())
        complete += row["status"] != "begun"
        bad += [name for name, sha in row["files"].items() if sha256_of(out / name) != sha]
    for path in out.glob("[!.]*.nii.gz"):
        read_label_map(path)
    return {"unreadable": bad, "lost": finished - complete, "complete": complete}


def outcome(folder):
    """Return what finished predictions are compared by: every byte but those of times."""
    out = folder / "work"
    found = {path.name: sha256_of(path) for path in out.iterdir() if path.suffix != ".json"}
    rows = [json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]
    return {"files": found, "records": [{**row, _MADE_BY: None} for row in rows]}
