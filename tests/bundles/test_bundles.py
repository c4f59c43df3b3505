"""Every bundle keeps MONAI's specification, and the bundles differ only where they mean to."""

import hashlib
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from monai.bundle import (
    ConfigParser,
    ConfigWorkflow,
    ckpt_export,
    load,
    run,
    verify_metadata,
    verify_net_in_out,
)

import medseg
from medseg.bundle import Bundle, Opened, find_bundle
from medseg.engine.checkpoints import write_checkpoint

ROOT = Path(__file__).parents[2] / "bundles"
BUNDLES = sorted(path.parent.parent for path in ROOT.glob("*/configs/metadata.json"))
SCHEMA = Path(__file__).with_name("metadata_schema.json")
each_bundle = pytest.mark.parametrize("root", [pytest.param(b, id=b.name) for b in BUNDLES])

# Small enough for any machine, on the phantom of the tests.
TINY = {"roi_px": [64, 64], "network_def::_target_": "medseg.models.segformer_b0", "epochs": 1}


def settings(data, output):
    return {**TINY, "dataset_dir": str(data), "output_dir": str(output), "device": "cpu"}


def configured(root, *names):
    parser = ConfigParser()
    parser.read_config([str(root / "configs" / f"{name}.json") for name in names])
    return parser.config


def references(config, prefix=""):
    """Yield (id, reference) for each value that is only a reference: the wiring."""
    pairs = config.items() if isinstance(config, dict) else enumerate(config)
    for key, value in pairs:
        if isinstance(value, dict | list):
            yield from references(value, f"{prefix}{key}::")
        elif isinstance(value, str) and value.startswith("@"):
            yield f"{prefix}{key}", value


def targets(config):
    values = config.values() if isinstance(config, dict) else config
    for value in values:
        if isinstance(value, dict | list):
            yield from targets(value)
    if isinstance(config, dict) and "_target_" in config:
        yield config["_target_"]


def test_there_are_bundles():
    assert {"uwmgi_segformer", "uwmgi_segformer_25d"} <= {bundle.name for bundle in BUNDLES}


@each_bundle
@pytest.mark.parametrize("kind", ["train", "infer"])
def test_monai_finds_all_properties(root, kind, tiny_phantom, tmp_path):
    name = {"train": "train", "infer": "inference"}[kind]
    workflow = ConfigWorkflow(
        str(root / "configs" / f"{name}.json"),
        logging_file=False,
        workflow_type=kind,
        bundle_root=str(root),
        **(
            settings(tiny_phantom, tmp_path)
            if kind == "train"
            else {k: v for k, v in settings(tiny_phantom, tmp_path).items() if k != "epochs"}
        ),
    )
    # `initialize` would set seeds and, for inference, load weights that are not there.
    workflow.parser["initialize"] = []
    workflow.initialize()
    assert workflow.check_properties() == []


@each_bundle
def test_the_network_fits_the_metadata(root):
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(root / "configs" / "metadata.json"),
        config_file=str(root / "configs" / "inference.json"),
        device="cpu",
        **{"network_def#_target_": "medseg.models.segformer_b0"},
    )
    image = Bundle(root).metadata["network_data_format"]["inputs"]["image"]
    assert image["num_channels"] == configured(root, "inference")["neighbours"]
    assert image["spatial_shape"] == configured(root, "inference")["roi_px"]


@each_bundle
def test_metadata_fits_the_schema(root):
    verify_metadata(
        meta_file=str(root / "configs" / "metadata.json"),
        filepath=str(SCHEMA),  # where it lies already, MONAI does not download it
        hash_val=hashlib.sha256(SCHEMA.read_bytes()).hexdigest(),
        hash_type="sha256",
    )
    metadata = Bundle(root).metadata
    assert metadata["version"] in metadata["changelog"]
    assert metadata["required_packages_version"]["medseg"] == medseg.__version__


@each_bundle
def test_channels_are_named_as_the_manifest_names_organs(root):
    config = configured(root, "train")
    organs = list(Opened(config)["labels"].names)
    outputs = Bundle(root).metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    background = ["background"] if config["label_mode"] == "exclusive" else []
    assert list(outputs.values()) == background + organs
    assert config["network_def"]["out_channels"] == len(outputs)


@each_bundle
def test_training_and_inference_agree(root):
    train, inference = configured(root, "train"), configured(root, "inference")
    for key in ("label_mode", "spacing_mm", "roi_px", "neighbours", "stride", "manifest"):
        assert train[key] == inference[key], key
    networks = []
    for config in (train, inference):
        config["network_def"]["_target_"] = "medseg.models.segformer_b0"
        networks.append(Opened(config)["network_def"].state_dict())
    assert [(k, v.shape) for k, v in networks[0].items()] == [
        (k, v.shape) for k, v in networks[1].items()
    ]


@each_bundle
def test_preprocessing_is_the_same_for_training_and_inference(root, tiny_phantom):
    from medseg.data import items

    item = items(tiny_phantom, manifest="uwmgi", role="train")[0]
    images = []
    for name, part in (("train", "train::preprocessing"), ("inference", "preprocessing")):
        chain = Opened(configured(root, name))[part]
        given = item if name == "train" else {k: v for k, v in item.items() if k != "label"}
        images.append(chain(dict(given))["image"])
    assert torch.equal(images[0], images[1])


def test_the_wiring_is_one():
    for name in ("train", "inference"):
        wiring = [dict(references(configured(root, name))) for root in BUNDLES]
        loss = [{k: v for k, v in each.items() if not k.startswith("loss")} for each in wiring]
        assert all(each == loss[0] for each in loss), name


@each_bundle
def test_every_target_is_public(root):
    for names in (("train", "evaluate"), ("train", "demo"), ("inference",)):
        for target in targets(configured(root, *names)):
            if target.startswith("medseg."):
                module, attribute = target.rsplit(".", 1)
                assert attribute in import_module(module).__all__, target


@each_bundle
def test_configurations_stay_short(root):
    assert len((root / "configs" / "train.json").read_text().splitlines()) <= 80


@each_bundle
def test_monai_loads_and_exports_it(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = configured(root, "inference")
    config["network_def"]["_target_"] = "medseg.models.segformer_b0"
    network = Opened(config)["network_def"]
    copy = tmp_path / root.name
    (copy / "configs").mkdir(parents=True)
    for file in (root / "configs").iterdir():
        text = file.read_text().replace("segformer_b4", "segformer_b0")
        (copy / "configs" / file.name).write_text(text)
    write_checkpoint(copy / "models" / "model.pt", network.state_dict())
    loaded = load(name=root.name, bundle_dir=str(tmp_path), source="local")
    assert torch.equal(
        next(iter(loaded.state_dict().values())), next(iter(network.state_dict().values()))
    )
    channels = config["neighbours"]
    ckpt_export(
        net_id="network_def",
        filepath=str(copy / "models" / "model.ts"),
        ckpt_file=str(copy / "models" / "model.pt"),
        meta_file=str(copy / "configs" / "metadata.json"),
        config_file=str(copy / "configs" / "inference.json"),
    )
    image = torch.rand(1, channels, 64, 64)
    scripted = torch.jit.load(copy / "models" / "model.ts")
    assert torch.allclose(scripted(image), network.eval()(image), atol=1e-4)


@each_bundle
def test_monai_runs_it_from_another_folder(root, tiny_phantom, tmp_path):
    """The command of MONAI's own documentation, on the bundle as it lies in the repository."""
    overrides = settings(tiny_phantom, tmp_path / "out") | {"bundle_root": str(root)}
    overrides |= {"batch_size": 4, "epoch_length": 2}
    words = [w for k, v in overrides.items() for w in (f"--{k.replace('::', '#')}", str(v))]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "monai.bundle", "run"),
            *("--config_file", str(root / "configs" / "train.json")),
            *("--logging_file", str(root / "configs" / "logging.conf")),
            *("--meta_file", str(root / "configs" / "metadata.json")),
            *words,
        ],
        cwd=tmp_path,
        env=os.environ | {"MONAI_FAIL_ON_DUPLICATE_CONFIG": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out" / "checkpoints" / "last.pt").exists()


@each_bundle
def test_monai_trains_evaluates_and_predicts(root, tiny_phantom, tmp_path):
    """What training leaves, MONAI's evaluation and inference of the same bundle take up."""
    places = {"dataset_dir": str(tiny_phantom), "output_dir": str(tmp_path), "device": "cpu"}
    small = {k: v for k, v in TINY.items() if k != "epochs"} | {"bundle_root": str(root)}
    configs = [str(root / "configs" / f"{name}.json") for name in ("train", "evaluate")]
    short = {"epochs": 1, "epoch_length": 1, "batch_size": 4}
    run(config_file=configs[:1], **quiet(root), **places, **small, **short)
    run(config_file=configs, **quiet(root), **places, **small, **short)
    assert "val_dice_mean" in (tmp_path / "metrics.csv").read_text()
    checkpoint = str(tmp_path / "checkpoints" / "best.pt")
    inference = str(root / "configs" / "inference.json")
    run(config_file=inference, **quiet(root), **places, **small, checkpoint=checkpoint)
    assert len(list(tmp_path.glob("case*_day?*.nii.gz"))) >= 6


def quiet(root):
    return {"meta_file": str(root / "configs" / "metadata.json"), "logging_file": False}


def test_a_path_wins_over_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_bundle("uwmgi_segformer").root == ROOT / "uwmgi_segformer"
    own = tmp_path / "uwmgi_segformer" / "configs"
    own.mkdir(parents=True)
    (own / "metadata.json").write_text(json.dumps({"version": "9.9.9"}))
    assert find_bundle("uwmgi_segformer").metadata == {"version": "9.9.9"}
