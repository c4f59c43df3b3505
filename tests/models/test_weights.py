import json
import re
import socket

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from medseg.errors import UnsafeError, UsageError
from medseg.models import segformer_b0, segformer_b1, segformer_b4
from medseg.models.weights import stem_for

# The names on the hub, written by transformers 4, from today's.
HUB_NAMES = [
    (r"^segformer\.stages\.(\d)\.patch_embeddings\.", r"segformer.encoder.patch_embeddings.\1."),
    (r"^segformer\.stages\.(\d)\.blocks\.", r"segformer.encoder.block.\1."),
    (r"^segformer\.stages\.(\d)\.layer_norm\.", r"segformer.encoder.layer_norm.\1."),
    (r"attention\.q_proj", "attention.self.query"),
    (r"attention\.k_proj", "attention.self.key"),
    (r"attention\.v_proj", "attention.self.value"),
    (r"attention\.sequence_reduction\.sequence_reduction", "attention.self.sr"),
    (r"attention\.sequence_reduction\.layer_norm", "attention.self.layer_norm"),
    (r"attention\.o_proj", "attention.output.dense"),
    (r"mlp\.fc", "mlp.dense"),
    (r"layernorm_before", "layer_norm_1"),
    (r"layernorm_after", "layer_norm_2"),
    (r"^decode_head\.linear_projections", "decode_head.linear_c"),
]
B0 = {
    "model_type": "segformer",
    "hidden_sizes": [32, 64, 160, 256],
    "depths": [2, 2, 2, 2],
    "decoder_hidden_size": 256,
    "num_channels": 3,
}
CLASSIFIER = {"decode_head.classifier.weight", "decode_head.classifier.bias"}


def hub_name(name):
    for pattern, replacement in HUB_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def b0_tensors(*, classes=150, seed=7):
    torch.manual_seed(seed)
    tensors = segformer_b0(out_channels=classes).state_dict()
    for name in ("running_mean", "running_var", "weight", "bias"):
        nn.init.uniform_(tensors[f"decode_head.batch_norm.{name}"], 0.5, 1.5)
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def write_checkpoint(folder, tensors, *, settings=B0, binary=False, hub_names=True):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings))
    named = {hub_name(name) if hub_names else name: value for name, value in tensors.items()}
    if binary:
        torch.save(named, folder / "pytorch_model.bin")
    else:
        save_file(named, folder / "model.safetensors")
    return folder


def assert_same(found, expected, *, but=()):
    assert set(found) == set(expected)
    for name in expected:
        if name not in but:
            torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("binary", [pytest.param(True, id="bin"), pytest.param(False, id="safe")])
@pytest.mark.parametrize(
    "hub_names", [pytest.param(True, id="hub names"), pytest.param(False, id="today's names")]
)
def test_all_but_the_class_layer_comes_from_the_checkpoint(tmp_path, binary, hub_names):
    tensors = b0_tensors(classes=150)
    if hub_names:
        assert "segformer.encoder.block.0.1.attention.self.sr.weight" in map(hub_name, tensors)
    folder = write_checkpoint(tmp_path / "b0", tensors, binary=binary, hub_names=hub_names)
    network = segformer_b0(out_channels=4, weights=folder)
    found = network.state_dict()
    for name in CLASSIFIER:
        tensors[name] = tensors[name][:4]  # of this shape, but drawn anew
        assert not torch.equal(found[name], tensors[name])
        assert found[name].abs().max() <= 1 / 16  # U(-1, 1) / sqrt(256)
    assert_same(found, tensors, but=CLASSIFIER)
    assert all(module.training for module in network.modules())


def test_with_as_many_classes_the_class_layer_is_kept(tmp_path):
    tensors = b0_tensors(classes=4)
    folder = write_checkpoint(tmp_path / "b0", tensors)
    assert_same(segformer_b0(out_channels=4, weights=str(folder)).state_dict(), tensors)


def test_an_encoder_alone_leaves_the_decoder_to_chance_and_nothing_else(tmp_path):
    tensors = b0_tensors(classes=4)
    head = {name for name in tensors if name.startswith("decode_head.")}
    encoder = {name: tensor for name, tensor in tensors.items() if name not in head}
    imagenet = {"classifier.weight": torch.zeros(1000, 256), "classifier.bias": torch.zeros(1000)}
    settings = {**B0, "decoder_hidden_size": 768}  # as published beside mit-b0: it has no decoder
    folder = write_checkpoint(tmp_path / "mit-b0", {**encoder, **imagenet}, settings=settings)
    network = segformer_b0(out_channels=4, weights=folder)
    assert_same(network.state_dict(), tensors, but=head)
    assert network.decode_head.linear_fuse.weight.std().item() == pytest.approx(2**-3.5, rel=0.05)


def test_half_precision_checkpoints_become_single_precision(tmp_path):
    tensors = {
        name: value.half() if value.is_floating_point() else value
        for name, value in b0_tensors(classes=4).items()
    }
    network = segformer_b0(out_channels=4, weights=write_checkpoint(tmp_path / "b0", tensors))
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("in_channels", "expected"),
    [
        pytest.param(1, [7.0], id="grey: the sum over red, green and blue"),
        pytest.param(3, [1.0, 2.0, 4.0], id="three: unchanged"),
        pytest.param(5, [0.6, 1.2, 2.4, 0.6, 1.2], id="five: in turn, times 3/5"),
    ],
)
def test_the_stem_is_adapted_to_the_channels(in_channels, expected):
    weight = torch.tensor([1.0, 2.0, 4.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(stem_for(weight, in_channels).flatten(), torch.tensor(expected))


def test_a_grey_image_gives_the_logits_of_its_three_copies(tmp_path):
    folder = write_checkpoint(tmp_path / "b0", b0_tensors(classes=2))
    one = segformer_b0(in_channels=1, out_channels=2, weights=folder).eval()
    three = segformer_b0(in_channels=3, out_channels=2, weights=folder).eval()
    six = segformer_b0(in_channels=6, out_channels=2, weights=folder).eval()
    image = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        expected = three(image.expand(-1, 3, -1, -1))
        torch.testing.assert_close(one(image), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(six(image.expand(-1, 6, -1, -1)), expected, rtol=0, atol=1e-5)


def test_a_stem_of_other_channels_is_used_as_it_is_or_refused(tmp_path):
    tensors = b0_tensors(classes=2)
    stem = "segformer.stages.0.patch_embeddings.proj.weight"
    tensors[stem] = stem_for(tensors[stem], 5)
    folder = write_checkpoint(tmp_path / "b0", tensors, settings={**B0, "num_channels": 5})
    five = segformer_b0(in_channels=5, out_channels=2, weights=folder)
    assert_same(five.state_dict(), tensors)
    with pytest.raises(UsageError, match=r"takes images of 5 channels .expected 3 or 1"):
        segformer_b0(in_channels=1, out_channels=2, weights=folder)


def test_another_size_is_an_error_that_names_every_difference(tmp_path):
    folder = write_checkpoint(tmp_path / "b0", b0_tensors())
    with pytest.raises(UsageError, match="E-WEIGHTS") as error:
        segformer_b4(out_channels=4, weights=folder)
    assert [problem.found.split(" is ")[0] for problem in error.value.problems] == [
        "hidden_sizes",
        "depths",
        "decoder_hidden_size",
    ]
    with pytest.raises(UsageError, match=r"hidden_sizes is \[32, 64, 160, 256\] .expected \[64"):
        segformer_b1(out_channels=4, weights=folder)


def test_missing_surplus_and_misshapen_tensors_are_told_in_one_pass(tmp_path):
    tensors = b0_tensors(classes=4)
    del tensors["decode_head.batch_norm.weight"]
    tensors["decode_head.extra"] = torch.zeros(1)
    tensors["segformer.stages.1.layer_norm.bias"] = torch.zeros(63)
    folder = write_checkpoint(tmp_path / "b0", tensors)
    with pytest.raises(UsageError, match=r"lacks decode_head\.batch_norm\.weight") as error:
        segformer_b0(out_channels=4, weights=folder)
    assert "has, unlike the network, decode_head.extra" in str(error.value)
    assert "has another shape of segformer.stages.1.layer_norm.bias" in str(error.value)


def test_a_decoder_without_its_class_layer_is_an_error(tmp_path):
    tensors = b0_tensors(classes=4)
    for name in CLASSIFIER:
        del tensors[name]
    folder = write_checkpoint(tmp_path / "b0", tensors)
    with pytest.raises(UsageError, match=r"lacks decode_head\.classifier\.bias"):
        segformer_b0(out_channels=4, weights=folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(
            {"config.json": None, "model.safetensors": None}, "there is no config.json", id="empty"
        ),
        pytest.param({"config.json": b"{"}, "is not JSON", id="broken configuration"),
        pytest.param({"config.json": b"[" * 100_000}, "is not JSON", id="nested without end"),
        pytest.param({"config.json": b"[]"}, "is not a JSON object", id="a list as configuration"),
        pytest.param(
            {"config.json": b'{"model_type": "beit"}'}, "model_type is beit", id="another network"
        ),
        pytest.param({"model.safetensors": b"12345678"}, "cannot be read", id="damaged tensors"),
        pytest.param(
            {"model.safetensors": None},
            "no model.safetensors or pytorch_model.bin",
            id="no tensors",
        ),
    ],
)
def test_an_unreadable_folder_is_an_error(tmp_path, damage, message):
    folder = write_checkpoint(tmp_path / "b0", {"a": torch.zeros(1)})
    for name, content in damage.items():
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
    with pytest.raises(UsageError, match=message):
        segformer_b0(out_channels=4, weights=folder)


def test_a_folder_without_any_file_tells_both_at_once(tmp_path):
    with pytest.raises(UsageError, match=r"no config\.json") as error:
        segformer_b0(out_channels=4, weights=tmp_path)
    assert len(error.value.problems) == 2


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param("no/such/folder", id="a path"),
        pytest.param("/nowhere", id="an absolute path"),
        pytest.param("b0", id="a bare name"),
    ],
)
def test_a_missing_folder_is_an_error(weights):
    with pytest.raises(UsageError, match="there is no such folder"):
        segformer_b0(out_channels=4, weights=weights)


def test_a_file_is_not_a_folder(tmp_path):
    folder = write_checkpoint(tmp_path / "b0", {"a": torch.zeros(1)})
    with pytest.raises(UsageError, match="name its folder"):
        segformer_b0(out_channels=4, weights=folder / "model.safetensors")


class Trap:
    """Unpickled, it would create a file."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return open, (str(self.canary), "w")


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    folder = write_checkpoint(tmp_path / "b0", {"a": Trap(tmp_path / "canary")}, binary=True)
    with pytest.raises(UnsafeError, match="E-CKPT-UNSAFE"):
        segformer_b0(out_channels=4, weights=folder)
    assert not (tmp_path / "canary").exists()


def test_a_nested_table_is_an_error(tmp_path):
    folder = write_checkpoint(tmp_path / "b0", {"state_dict": {}}, binary=True)
    with pytest.raises(UsageError, match="not a table of named tensors"):
        segformer_b0(out_channels=4, weights=folder)


@pytest.fixture
def offline_cache(tmp_path, monkeypatch):
    """An empty hub cache, HF_HUB_OFFLINE, and no network."""

    def refuse(*_args, **_options):
        raise AssertionError("the network was used")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tmp_path / "hub"


def cached_snapshot(cache, hub_id):
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    return repository / "snapshots" / ("0" * 40)


@pytest.mark.parametrize("binary", [pytest.param(True, id="bin"), pytest.param(False, id="safe")])
def test_a_hub_id_in_the_cache_needs_no_network(offline_cache, binary):
    tensors = b0_tensors(classes=2)
    write_checkpoint(cached_snapshot(offline_cache, "someone/some-b0"), tensors, binary=binary)
    network = segformer_b0(out_channels=2, weights="someone/some-b0")
    assert_same(network.state_dict(), tensors)


@pytest.mark.usefixtures("offline_cache")
def test_a_hub_id_that_cannot_be_had_is_an_error_not_a_random_network():
    with pytest.raises(UsageError, match=r"someone/else: .*neither a folder nor .* the hub"):
        segformer_b0(out_channels=2, weights="someone/else")


def test_loading_writes_nothing_on_the_terminal(tmp_path, capfd):
    segformer_b0(out_channels=4, weights=write_checkpoint(tmp_path / "b0", b0_tensors()))
    assert capfd.readouterr() == ("", "")
