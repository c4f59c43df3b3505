"""Start a network from a published checkpoint, or say exactly why that cannot be done.

A checkpoint in the *hub's format* is a folder with ``config.json`` and one file of tensors,
``model.safetensors`` or ``pytorch_model.bin``. Nothing is left to chance silently: the layers that
a checkpoint cannot give are known beforehand, and any other difference is an error.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from medseg.errors import Problem, UnsafeError, UsageError

if TYPE_CHECKING:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

CONFIG_FILE = "config.json"
TENSOR_FILES = ("model.safetensors", "pytorch_model.bin")

Fresh = Literal["", "classifier", "head"]

_CLASSIFIER = {"decode_head.classifier.weight", "decode_head.classifier.bias"}
_IMAGENET_CLASSIFIER = {"classifier.weight", "classifier.bias"}
_ENCODER_SETTINGS = (
    "hidden_sizes",
    "depths",
    "num_attention_heads",
    "sr_ratios",
    "mlp_ratios",
    "patch_sizes",
    "strides",
)


def load_segformer(
    config: "SegformerConfig", weights: str | Path
) -> tuple["SegformerForSemanticSegmentation", Fresh]:
    """Return transformers' segmentation model of `config`, filled from `weights`.

    Args:
        config: The ``SegformerConfig`` of the network to fill.
        weights: A folder in the hub's format or a hub id; a segmentation network (its class layer
            is used where the number of classes is the same) or an encoder alone.

    Returns:
        The model, and which part of it the checkpoint did not give and the caller must initialise:
        nothing, the class layer, or the whole decoder. The first convolution is adapted to
        ``config.num_channels`` by `stem_for`.

    Raises:
        UsageError: The checkpoint cannot be read, or differs from `config` elsewhere.
        UnsafeError: The checkpoint holds code.
    """
    from transformers import SegformerForSemanticSegmentation

    folder = checkpoint_folder(weights)
    settings, tensors = read_checkpoint(folder)
    encoder_only = not any(name.startswith("decode_head.") for name in tensors)
    _require_same_size(folder, settings, config, encoder_only=encoder_only)

    wanted_channels = config.num_channels
    config.num_channels = settings.get("num_channels", 3)
    with _quiet_transformers():
        model, report = SegformerForSemanticSegmentation.from_pretrained(
            None,
            config=config,
            state_dict=tensors,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    fresh = _require_expected(folder, report, model, encoder_only=encoder_only)
    _adapt_stem(model, wanted_channels, folder)
    return model, fresh


def checkpoint_folder(weights: str | Path) -> Path:
    """Return the folder `weights` names; a hub id is looked up in the hub's cache or downloaded.

    Raises:
        UsageError: It is neither a folder nor a hub id that can be had.
    """
    folder = Path(weights)
    if folder.is_dir():
        return folder
    if folder.exists():
        problem = Problem("E-WEIGHTS", str(weights), "is a file", "a folder", "name its folder")
        raise UsageError(problem)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(weights)):
        raise UsageError(Problem("E-WEIGHTS", str(weights), "there is no such folder"))
    return _downloaded(str(weights))


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the settings and the tensors (float32) of a checkpoint in the hub's format.

    Raises:
        UsageError: A file is missing or damaged, or holds something else.
        UnsafeError: The file of tensors holds code.
    """
    files = [folder / name for name in TENSOR_FILES if (folder / name).is_file()]
    missing = [] if (folder / CONFIG_FILE).is_file() else [CONFIG_FILE]
    missing += [] if files else [" or ".join(TENSOR_FILES)]
    if missing:
        raise UsageError(
            *(Problem("E-WEIGHTS", str(folder), f"there is no {name}") for name in missing)
        )
    return _read_settings(folder / CONFIG_FILE), _read_tensors(files[0])


def stem_for(weight: Tensor, in_channels: int) -> Tensor:
    """Return the first convolution's weight ``(E, 3, h, w)`` for images of `in_channels` channels.

    One channel gets the sum over red, green and blue, so that a grey image gives what its three
    copies gave. N channels get the three in turn, scaled by 3/N to keep the response's size.
    """
    if in_channels == 1:
        return weight.sum(1, keepdim=True)
    turns = torch.arange(in_channels) % 3
    return weight[:, turns] * (3 / in_channels)


def _downloaded(hub_id: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    folder = None
    try:
        for name in TENSOR_FILES:
            try:
                folder = Path(hf_hub_download(hub_id, name)).parent
                break
            except EntryNotFoundError:
                continue
        hf_hub_download(hub_id, CONFIG_FILE)
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = f"neither a folder nor to be had from the hub ({type(error).__name__})"
        fix = "give a folder with config.json and model.safetensors"
        raise UsageError(Problem("E-WEIGHTS", hub_id, reason, fix=fix)) from error
    if folder is None:
        raise UsageError(Problem("E-WEIGHTS", hub_id, f"there is no {' or '.join(TENSOR_FILES)}"))
    return folder


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        found = f"cannot be read: {error.strerror or type(error).__name__}"
        raise UsageError(Problem("E-WEIGHTS", str(path), found)) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(Problem("E-WEIGHTS", str(path), f"is not JSON: {error}")) from error
    if not isinstance(settings, dict):
        raise UsageError(Problem("E-WEIGHTS", str(path), "is not a JSON object"))
    return settings


def _read_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        found = "is not a plain table of tensors: it holds code, or is damaged"
        fix = "take the model.safetensors of the same network"
        raise UnsafeError(Problem("E-CKPT-UNSAFE", str(path), found, fix=fix)) from error
    except (SafetensorError, RuntimeError, EOFError, OSError) as error:
        raise UsageError(Problem("E-WEIGHTS", str(path), f"cannot be read: {error}")) from error
    if not isinstance(tensors, dict) or not all(isinstance(v, Tensor) for v in tensors.values()):
        raise UsageError(Problem("E-WEIGHTS", str(path), "is not a table of named tensors"))
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def _require_same_size(
    folder: Path, settings: Mapping[str, Any], config: "SegformerConfig", *, encoder_only: bool
) -> None:
    """Raise UsageError naming each setting in which the checkpoint is another network."""
    subject = str(folder / CONFIG_FILE)
    if (kind := settings.get("model_type", "segformer")) != "segformer":
        raise UsageError(Problem("E-WEIGHTS", subject, f"model_type is {kind}", "segformer"))
    names = _ENCODER_SETTINGS if encoder_only else (*_ENCODER_SETTINGS, "decoder_hidden_size")
    default = type(config)()
    problems = []
    for name in names:
        found = _listed(settings.get(name, getattr(default, name)))
        expected = _listed(getattr(config, name))
        if found != expected:
            fix = "take the checkpoint of the network's own size, or the other size of network"
            problems.append(Problem("E-WEIGHTS", subject, f"{name} is {found}", str(expected), fix))
    if problems:
        raise UsageError(*problems)


def _require_expected(
    folder: Path, report: Mapping[str, Any], model: nn.Module, *, encoder_only: bool
) -> Fresh:
    """Return what the checkpoint did not give; UsageError unless that is as foreseen."""
    missing = set(report["missing_keys"])
    unexpected = set(report["unexpected_keys"])
    differing = {name for name, *_ in report["mismatched_keys"]}
    head = {name for name in model.state_dict() if name.startswith("decode_head.")}
    if encoder_only:
        missing -= head
        unexpected -= _IMAGENET_CLASSIFIER
    fresh_classifier = differing == _CLASSIFIER
    if fresh_classifier:
        differing = set()
    problems = [
        *_about(folder, "lacks", missing),
        *_about(folder, "has, unlike the network,", unexpected),
        *_about(folder, "has another shape of", differing),
        *(Problem("E-WEIGHTS", str(folder), str(message)) for message in report["error_msgs"]),
    ]
    if problems:
        raise UsageError(*problems)
    if encoder_only:
        return "head"
    return "classifier" if fresh_classifier else ""


def _adapt_stem(model: "SegformerForSemanticSegmentation", in_channels: int, folder: Path) -> None:
    """Fit the first convolution to `in_channels`, and say so in the model's configuration."""
    embeddings = model.segformer.stages[0].patch_embeddings
    stem = embeddings.proj
    if stem.in_channels == in_channels:
        return
    if stem.in_channels != 3:
        found = f"takes images of {stem.in_channels} channels"
        raise UsageError(Problem("E-WEIGHTS", str(folder), found, f"3 or {in_channels}"))
    stem.weight = nn.Parameter(stem_for(stem.weight.detach(), in_channels))
    stem.in_channels = in_channels
    model.config.num_channels = in_channels


def _about(folder: Path, verb: str, names: Iterable[str]) -> Iterator[Problem]:
    return (Problem("E-WEIGHTS", str(folder), f"{verb} {name}") for name in sorted(names))


def _listed(setting: object) -> object:
    return list(setting) if isinstance(setting, (list, tuple)) else setting


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep transformers from writing its own report and progress bar on the terminal."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
