"""What MONAI's specification and the model zoo's tests ask of a bundle, most of it by MONAI itself.

References:
    MONAI Bundle Specification, in the documentation of MONAI 1.6. Project-MONAI/model-zoo, ``ci/``.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from medseg.bundle.examined import Broken, Examined, LeftOut, told

SCHEMA = Path(__file__).with_name("metadata_schema.json")
REQUIRED = (
    *("LICENSE", "docs/README.md", "configs/metadata.json", "configs/logging.conf"),
    *("configs/train.json", "configs/inference.json"),
)
LARGEST_BYTES = 25_000_000

# One step of training and all of validation, on coarse slices.
SHORT = {"roi_px": [64, 64], "epochs": 1, "epoch_length": 1, "batch_size": 2, "val_interval": 1}


def directory(examined: Examined) -> str:
    """The files that the specification and the zoo ask for are there, and none is large."""
    root = examined.bundle.root
    missing = [f"{name} is missing" for name in REQUIRED if not (root / name).is_file()]
    own = [f for f in root.rglob("*") if f.is_file() and f.parent != root / "models"]
    large = [
        f"{file.relative_to(root)} is larger than 25 MB"
        for file in own
        if file.stat().st_size > LARGEST_BYTES
    ]
    return told([*missing, *large])


def keys(examined: Examined) -> str:
    """Each configuration is JSON in which no key stands twice: the second would win in silence."""
    return told(
        f"{file.name}: {fault}"
        for file in sorted((examined.bundle.root / "configs").glob("*.json"))
        for fault in _faults_of(file)
    )


def versions(examined: Examined) -> str:
    """The changelog tells of this version, and the packages that it names are installed."""
    facts = examined.bundle.metadata
    faults = []
    if facts["version"] not in facts.get("changelog", {}):
        faults.append(f"the changelog lacks version {facts['version']}")
    for package in facts["required_packages_version"]:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            faults.append(f"{package} is not installed")
    return told(faults)


def schema(examined: Examined) -> str:
    """The metadata are as the specification describes them."""
    from monai.bundle import verify_metadata

    verify_metadata(
        meta_file=examined.file("metadata"),
        filepath=str(SCHEMA),  # where it lies already, MONAI does not download it
        hash_val=hashlib.sha256(SCHEMA.read_bytes()).hexdigest(),
        hash_type="sha256",
    )
    return ""


def training_properties(examined: Examined) -> str:
    """MONAI finds all that it wants of a training."""
    places = {"dataset_dir": str(examined.readable()), "output_dir": str(examined.folder)}
    return _properties(examined, "train", kind="train", settings=places)


def inference_properties(examined: Examined) -> str:
    """MONAI finds all that it wants of an inference."""
    return _properties(
        examined, "inference", kind="infer", settings={"dataset_dir": str(examined.readable())}
    )


def network(examined: Examined) -> str:
    """The network takes and gives what the metadata say."""
    from monai.bundle import verify_net_in_out

    verify_net_in_out(
        net_id="network_def",
        meta_file=examined.file("metadata"),
        config_file=examined.file("inference"),
        device="cpu",
    )
    return ""


def torchscript(examined: Examined) -> str:
    """MONAI exports the network, and what it exports computes the same."""
    import torch
    from monai.bundle import ckpt_export

    from medseg.engine.checkpoints import write_checkpoint

    facts = examined.bundle.metadata
    way = facts.get("network", {}).get("torchscript", "scripted")
    if way == "none":
        raise LeftOut("the metadata say that the network cannot be exported")
    network = examined.network(examined.inference).eval()
    weights, script = examined.folder / "model.pt", examined.folder / "model.ts"
    write_checkpoint(weights, network.state_dict())
    image = facts["network_data_format"]["inputs"]["image"]
    images = torch.rand(1, image["num_channels"], *image["spatial_shape"])
    ckpt_export(
        net_id="network_def",
        filepath=str(script),
        ckpt_file=str(weights),
        meta_file=examined.file("metadata"),
        config_file=examined.file("inference"),
        use_trace=way == "traced",
        input_shape=list(images.shape),
    )
    exported = torch.jit.load(script)  # type: ignore[no-untyped-call]
    with torch.inference_mode():
        found, expected = exported(images), network(images)
    if not torch.allclose(found, expected, atol=1e-3 * float(expected.abs().max())):
        raise Broken(f"the exported network differs by {(found - expected).abs().max():.2g}")
    return "" if way == "scripted" else "traced, for images of this size alone"


def weights(examined: Examined) -> str:
    """The weights beside the bundle fit its network."""
    from medseg.engine.checkpoints import load_network

    file = examined.bundle.root / "models" / "model.pt"
    if not file.is_file():
        raise LeftOut("there are no weights, models/model.pt")
    load_network(examined.network(examined.inference), file)
    return ""


def runs_elsewhere(examined: Examined) -> str:
    """MONAI's own command trains from another folder; MONAI evaluates and predicts with that."""
    from monai.bundle import run

    out = examined.folder / "out"
    places = {"bundle_root": str(examined.bundle.root), "dataset_dir": str(examined.readable())}
    places |= {"output_dir": str(out), "device": "cpu"}
    _monai_run(examined, places | SHORT)
    own = {"meta_file": examined.file("metadata"), "logging_file": False, **places}
    run(config_file=[examined.file("train"), examined.file("evaluate")], **own, **SHORT)
    if not (out / "metrics.csv").is_file():
        raise Broken("evaluation wrote no metrics.csv")
    best = {"checkpoint": str(out / "checkpoints" / "best.pt"), "roi_px": SHORT["roi_px"]}
    run(config_file=examined.file("inference"), **own, **best)
    if not list(out.glob("*.nii.gz")):
        raise Broken("inference wrote no masks")
    return ""


def _properties(examined: Examined, name: str, *, kind: str, settings: dict[str, str]) -> str:
    from monai.bundle import ConfigWorkflow

    workflow = ConfigWorkflow(
        examined.file(name),
        meta_file=examined.file("metadata"),
        logging_file=False,
        workflow_type=kind,
        **{"bundle_root": str(examined.bundle.root), "device": "cpu", **settings},
    )
    # It would set seeds or, for inference, load weights that are not there.
    workflow.parser["initialize"] = []
    workflow.initialize()
    return told(f"has no {name}" for name in workflow.check_properties() or ())


def _monai_run(examined: Examined, settings: Mapping[str, Any]) -> None:
    """Train by MONAI's command in a process and a folder of its own."""
    files = {"config": examined.file("train"), "meta": examined.file("metadata")}
    files["logging"] = str(examined.bundle.root / "configs" / "logging.conf")
    words = [w for key, value in files.items() for w in (f"--{key}_file", value)]
    words += [w for key, value in settings.items() for w in (f"--{key}", str(value))]
    done = subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", *words],
        cwd=examined.folder,
        env=os.environ | {"MONAI_FAIL_ON_DUPLICATE_CONFIG": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Broken(*(done.stderr.strip() or done.stdout.strip()).splitlines()[-1:])


def _faults_of(file: Path) -> list[str]:
    faults: list[str] = []

    def seen(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        faults.extend(f"{n} stands twice" for n in sorted({n for n in names if names.count(n) > 1}))
        return dict(pairs)

    try:
        json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=seen)
    except ValueError as fault:
        faults.append(f"is no JSON: {fault}")
    return faults
