"""A run made up for tests of its page, and what a test looks for in a page."""

import re
from html.parser import HTMLParser

import numpy as np
from scored_runs import score

from medseg.bundle import find_bundle
from medseg.data import make_splits, read_manifest, read_scans
from medseg.data.label_files import read_reference
from medseg.io.nifti import write_label_map
from medseg.metrics.calibration import BINS, Calibration
from medseg.report.facts import RunFacts, Side
from medseg.report.scores import write_csv
from medseg.runs import Run
from medseg.stages.evaluate import evaluate

MANIFEST = read_manifest("uwmgi")
VOID = {"meta", "link", "img", "br", "hr", "input", "path", "rect"}


def scores_of(n_patients, *, days=2, best=0.9):
    """Return scores that fall from patient to patient and from organ to organ."""
    return [
        score(
            f"case{patient}_day{day}",
            organ,
            best - 0.05 * channel - 0.01 * patient - 0.002 * day,
            volume_ref_ml=200.0 + 30 * patient,
            volume_pred_ml=210.0 + 29 * patient + day,
        )
        for patient in range(n_patients)
        for day in range(days)
        for channel, organ in enumerate(MANIFEST.labels.names)
    ]


def facts_of(scores, **changes):
    """Return all that a finished run tells, around these scores."""
    n_patients = len({s.scan_id.split("_")[0] for s in scores})
    n_scans = len({s.scan_id for s in scores})
    counts = Calibration((10,) * BINS, tuple(range(BINS)), tuple(0.5 * n for n in range(BINS)))
    told = {
        "name": "20260101-120000-fold0",
        "experiment": "uwmgi_unet",
        "config": {
            "network_def": {"_target_": "medseg.models.unet", "weights": "@weights"},
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.001},
            "augmentation": {"_target_": "medseg.transforms.BatchAugment", "rotate_deg": 15},
            "label_mode": "exclusive",
            "spacing_mm": [1.5, 1.5, 3.0],
            "roi_px": [288, 288],
            "epochs": 3,
            "batch_size": 8,
        },
        "manifest": MANIFEST,
        "metadata": {"task": "Segmentation of organs", "intended_use": "Research."},
        "sides": (Side("training", 9, 18, 2592), Side("test", n_patients, n_scans, None)),
        "split": {"sha256": "5" * 64, "rule": "patients in groups", "seed": "0"},
        "provenance": {
            "medseg": "0.1.0",
            "command": ["medseg", "run", "uwmgi_unet"],
            "seeds": {"run": 0},
            "versions": {"torch": "2.13.0"},
            "devices": [{"name": "cpu", "model": "Made Up", "cores": 2}],
        },
        "training": {
            "parameters": 3_716_228,
            "epochs": [
                {"epoch": n, "train/loss": 1 / n, "train/seconds": 30.0, "val/dice/mean": 0.2 * n}
                for n in (1, 2, 3)
            ],
        },
        "weights": {"sha256": "7" * 64},
        "scores": scores,
        "calibration": dict.fromkeys(MANIFEST.labels.names, counts),
    }
    return RunFacts(**(told | changes))


class Page(HTMLParser):
    """What a page is made of: tags with their attributes, text by section, and faults of form."""

    def __init__(self, html):
        super().__init__()
        self.html, self.tags, self.faults = html, [], []
        self.sections, self._open, self._section = {}, [], ""
        self.feed(html)
        self.faults += [f"<{tag}> is never closed" for tag in self._open]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self._section = dict(attrs)["id"]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self._open or self._open[-1] != tag:
            self.faults.append(f"</{tag}> at {self.getpos()} closes {self._open[-1:]}")
        else:
            self._open.pop()

    def handle_data(self, data):
        if self._open[-1:] != ["style"]:
            before = self.sections.get(self._section, "")
            self.sections[self._section] = " ".join((before + " " + data).split())

    def of(self, tag):
        """Return the attributes of every tag of a kind."""
        return [attrs for name, attrs in self.tags if name == tag]

    def addresses(self):
        """Return everything that the page would have a browser fetch or go to."""
        named = [
            attrs[key]
            for _, attrs in self.tags
            for key in ("src", "href", "srcset", "data", "action", "poster", "xlink:href")
            if key in attrs
        ]
        inside = re.findall(r"url\(\s*['\"]?([^'\")]*)|@import\s+['\"]?([^'\";]+)", self.html)
        return named + [address for pair in inside for address in pair if address]


def finished_run(folder, data):
    """Write a run's folder as its stages would have left it, without training anything.

    Predictions are the reference moved by a voxel, and the stomach of the first scan is missed.
    """
    scans = read_scans(data, MANIFEST)
    splits = make_splits(scans, folds=3, manifest="uwmgi")
    held_out = [scan for scan in scans if scan.scan_id in splits.fold(0).test]
    bundle = find_bundle("uwmgi_segformer")
    config = {"bundle_root": str(bundle.root), "dataset_dir": str(data), "manifest": "uwmgi"}
    facts = facts_of([])
    run = Run(folder, {**facts.config, **config, "fold": 0, "seed": 0})
    for number, scan in enumerate(held_out):
        masks = [np.roll(mask, 1, axis=0) for mask in read_reference(scan, MANIFEST.labels).masks]
        masks[2] &= number > 0
        file = run.predictions / f"{scan.scan_id}.nii.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        label_map = MANIFEST.labels.label_map(masks)
        write_label_map(file, label_map, scan.grid, labels=MANIFEST.labels)
    splits.write(run.splits)
    scored = evaluate(run.predictions, data, MANIFEST, scan_ids=[s.scan_id for s in held_out])
    write_csv(folder / "metrics.csv", scored.scores)
    counts = {name: row._asdict() for name, row in facts.calibration.items()}
    for name, content in {
        "config": run.config,
        "provenance": dict(facts.provenance),
        "training": {**facts.training, "phantom": True},
        "calibration": {"scans": [], "organs": counts},
    }.items():
        run.write(f"{name}.json", content)
    return run
