"""Bundles from elsewhere are read before they open: data opens, code is told and refused.

Every hostile thing here would make a file, the canary, were it executed.
"""

import shutil
import sys

import pytest
from changed_bundle import change, copied, refused

from medseg import resources
from medseg.bundle import Opened, find_bundle
from medseg.bundle.trust import trust, trusting
from medseg.errors import UnsafeError, UsageError

NAMES = resources.names("bundles")


@pytest.fixture
def canary(tmp_path):
    """A file that is not there unless hostile code ran, during the test or after its refusal."""
    path = tmp_path / "CANARY"
    yield path
    assert not path.exists()


@pytest.fixture
def own(tmp_path):
    """A copy of the main bundle."""
    return copied(tmp_path / "own")


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_of_a_shipped_bundle_is_data(tmp_path, name):
    copy = shutil.copytree(resources.shipped("bundles", name), tmp_path / "copy")
    assert find_bundle(copy).root == copy


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"epochs": 3, "folds": 4, "seed": 7, "amp": False}, id="numbers"),
        pytest.param({"manifest": "/home/me/hearts.yaml", "spacing_mm": [1, 1, 2.5]}, id="data"),
        pytest.param({"loss": {"_target_": "medseg.losses.dice_bce"}}, id="another loss"),
        pytest.param({"loss": {"_target_": "torch.nn.CrossEntropyLoss"}}, id="torch's loss"),
        pytest.param({"loss": {"_target_": "monai.losses.DiceLoss"}}, id="MONAI's loss"),
        pytest.param(
            {"network_def": {"_target_": "medseg.models.unet", "in_channels": "@channels"}},
            id="another network",
        ),
        pytest.param({"train::dataloader::resident": False}, id="a value within the wiring"),
        pytest.param({"weights": "/home/me/mit-b4"}, id="weights of one's own"),
        pytest.param({"device": "cuda:1"}, id="a word in the place of an expression"),
        pytest.param({"note": {"by": "me, at $5 a day", "mail": "me@here.org"}}, id="a note"),
    ],
)
def test_values_of_ones_own_are_data(own, values):
    change(own, **values)
    assert find_bundle(own).written("train").items() >= values.items()


def test_what_is_shipped_opens_whatever_is_in_it(tmp_path, monkeypatch, own):
    change(own, loss={"_target_": "os.system", "command": "true"})
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "medseg")
    shutil.copytree(own, tmp_path / "bundles" / "own")
    assert find_bundle("own").name == "own"
    assert find_bundle(tmp_path / "bundles" / "own").name == "own"


@pytest.mark.parametrize(
    ("values", "told_of"),
    [
        pytest.param(
            {"epochs": "$__import__('os').system('touch CANARY')"},
            "epochs evaluates __import__('os').system('touch CANARY')",
            id="an expression",
        ),
        pytest.param(
            {"loss": {"_target_": "os.system", "command": "touch CANARY"}},
            "loss::_target_ calls os.system",
            id="os.system as a loss",
        ),
        pytest.param(
            {"loss": {"_target_": "builtins.eval", "_args_": "open('CANARY', 'w')"}},
            "loss::_target_ calls builtins.eval",
            id="eval",
        ),
        pytest.param(
            {"initialize": ["$import os", "$os.system('touch CANARY')"]},
            "initialize::1 evaluates os.system('touch CANARY')",
            id="an import statement and its use",
        ),
        pytest.param(
            {"x": [1, [2, [{"y": ["$open('CANARY', 'w')"]}]]]},
            "x::1::1::0::y::0 evaluates open('CANARY', 'w')",
            id="nested lists",
        ),
        pytest.param(
            {"x": "$@x_", "x_": "open('CANARY', 'w')"},
            "x evaluates @x_",
            id="a reference evaluated",
        ),
        pytest.param(
            {"loss::_target_": "os.system"}, "loss::_target_ calls os.system", id="a key by id"
        ),
        pytest.param(
            {"loss#_target_": "os.system"}, "loss::_target_ calls os.system", id="an id of old"
        ),
        pytest.param(
            {"loss": {"_target_": "medseg.losses.dice", "_requires_": "$open('CANARY', 'w')"}},
            "loss::_requires_ steers MONAI by _requires_",
            id="what comes before",
        ),
        pytest.param(
            {"loss": {"_target_": "medseg.losses.dice", "_disabled_": "$open('CANARY', 'w')"}},
            "loss::_disabled_ steers MONAI by _disabled_",
            id="what decides",
        ),
        pytest.param(
            {"loss": {"_target_": "medseg.losses.dice", "_mode_": "debug"}},
            "loss::_mode_ has the mode debug",
            id="a debugger",
        ),
        pytest.param({"loss": "%../../other.json::loss"}, "loss reads", id="a macro"),
        pytest.param({"+initialize": ["x"]}, "+initialize::0 is added to", id="an addition"),
        pytest.param({"loss": {"a::_target_": "x"}}, "has an id for a key", id="an id below"),
        pytest.param(
            {"loss": {"_target_": "monai.losses.PerceptualLoss", "network_type": "alex"}},
            "calls monai.losses.PerceptualLoss",
            id="what fetches code",
        ),
        pytest.param(
            {"loss": {"_target_": "medseg.transforms.SaveMasks", "output_dir": "/etc"}},
            "loss::_target_ calls medseg.transforms.SaveMasks",
            id="what writes, in the place of a loss",
        ),
        pytest.param(
            {"loss": {"_target_": "medseg.models.loader", "x": 1}},
            "calls medseg.models.loader",
            id="what is not public",
        ),
        pytest.param(
            {"loss": {"_target_": "$__import__('os').system"}},
            "calls $__import__",
            id="a target made",
        ),
        pytest.param(
            {"loss": {"_target_": ["os.system"]}},
            "loss::_target_::0 calls os.system",
            id="a list for a target",
        ),
        pytest.param({"weights": "evil/beacon"}, "fetches weights evil/beacon", id="a download"),
        pytest.param(
            {"network_def::weights": "evil/beacon"}, "fetches weights evil/beacon", id="another"
        ),
        pytest.param({"output_dir": "/home/me/.ssh"}, "output_dir is '/home/me/.ssh'", id="places"),
        pytest.param(
            {"train::handlers::5::folder": "../../x"}, "is '../../x', not wired", id="a place below"
        ),
        pytest.param({"run": ["$@train::dataloader.__class__"]}, "run::0 evaluates", id="the run"),
    ],
)
def test_what_would_run_is_told_and_refused(own, canary, monkeypatch, values, told_of):
    monkeypatch.chdir(canary.parent)
    change(own, **values)
    rows = refused(own)
    assert any(row.startswith("own/configs/train.json: ") and told_of in row for row in rows), rows


def test_what_is_told_would_have_run(own, tmp_path):
    """Elsewhere no canary is made: here one is, so that the others prove something."""
    change(own, epochs=f"$open({str(tmp_path / 'made')!r}, 'w').close()")
    with trusting():
        config = find_bundle(own).config("train")
    assert not (tmp_path / "made").exists()
    Opened(config)["epochs"]
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["train", "inference", "evaluate", "demo", "metadata", "other"])
def test_every_file_is_looked_at(own, name):
    (own / "configs" / "other.json").write_text("{}")
    change(own, name, hidden=["$open('CANARY', 'w')"])
    row = f"own/configs/{name}.json: hidden::0 evaluates open('CANARY', 'w')"
    assert refused(own) == [row]


def test_everything_is_told_at_once(own):
    change(own, loss={"_target_": "os.system", "command": "$1"}, seed="$2")
    change(own, "demo", epochs="$3")
    assert refused(own) == [
        "own/configs/demo.json: epochs evaluates 3",
        "own/configs/train.json: loss::_target_ calls os.system",
        "own/configs/train.json: loss::command evaluates 1",
        "own/configs/train.json: seed evaluates 2",
    ]


def test_a_script_is_told_and_never_imported(own, canary, monkeypatch):
    (own / "scripts").mkdir()
    script = own / "scripts" / "evil.py"
    script.write_text(f"open({str(canary)!r}, 'w').close()\n")
    change(own, network_def={"_target_": "scripts.evil.Net"})
    monkeypatch.syspath_prepend(str(own))
    assert refused(own) == [
        "own/configs/train.json: network_def::_target_ calls scripts.evil.Net",
        f"own/scripts/evil.py: is a script of {script.stat().st_size} bytes",
    ]
    assert "scripts.evil" not in sys.modules


def test_a_hostile_logging_configuration_is_told(own, canary):
    (own / "configs" / "logging.conf").write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=\n"
        "[logger_root]\nlevel=INFO\nhandlers=h\n"
        f"[handler_h]\nclass=StreamHandler\nargs=(open({str(canary)!r}, 'w'),)\n"
    )
    assert refused(own) == [
        "own/configs/logging.conf: configures logging in a way of its own",
        f"own/configs/logging.conf: has args=(open({str(canary)!r}, 'w'),)",
        "own/configs/logging.conf: has class=StreamHandler",
    ]


@pytest.mark.parametrize(
    ("text", "told_of"),
    [
        pytest.param(
            "x: !!python/object/apply:os.system ['touch CANARY']",
            r"more\.yaml:1:4: could not determine a constructor",
            id="a tag",
        ),
        pytest.param(
            "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]",
            r"more\.yaml:1:4: anchor or alias 'a'",
            id="a bomb of aliases",
        ),
        pytest.param("a: 1\nb:\n\t- 2", r"more\.yaml:3:1: found character", id="a tab"),
        pytest.param("a: 1\nb: 2\na: 3", r"more\.yaml:3:1: a: key stands twice", id="a key twice"),
        pytest.param("- 1", r"more\.yaml:1:1: holds no object", id="a list"),
        pytest.param("", r"more\.yaml:1:1: holds no object", id="nothing"),
    ],
)
def test_yaml_is_read_without_its_tags(own, canary, monkeypatch, text, told_of):
    monkeypatch.chdir(canary.parent)
    (own / "configs" / "more.yaml").write_text(text)
    with pytest.raises(UsageError, match=told_of) as caught:
        find_bundle(own)
    assert [row.code for row in caught.value.problems] == ["E-YAML"]


def test_what_yaml_would_call_is_told(own):
    (own / "configs" / "more.yaml").write_text("loss: {_target_: os.system}")
    assert refused(own) == ["own/configs/more.yaml: loss::_target_ calls os.system"]


@pytest.mark.parametrize(
    ("content", "told_of"),
    [
        pytest.param(b"{", r"demo\.json:1:2: expecting property name", id="cut off"),
        pytest.param(
            b'{\n "a": 1\n "b": 2}', r"demo\.json:3:2: expecting ','", id="a comma left out"
        ),
        pytest.param(
            b'{"a": 1,\n\t"b": {"c": 1, "c": 2}}', r"demo\.json:2:16: b\.c: key", id="twice"
        ),
        pytest.param(b"[1]", r"demo\.json:1:1: holds no object", id="a list"),
        pytest.param(b"\xff{}", r"demo\.json: is not UTF-8 text", id="no UTF-8"),
        pytest.param(
            b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "deeper than 32", id="deep"
        ),
        pytest.param(b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}", "deeper than 32", id="rather deep"),
        pytest.param(b'{"a": "' + b"x" * (1 << 20) + b'"}', "more than 1048576", id="large"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(own, content, told_of):
    (own / "configs" / "demo.json").write_bytes(content)
    with pytest.raises(UsageError, match=told_of) as caught:
        find_bundle(own)
    assert [row.code for row in caught.value.problems] == ["E-JSON"]


def test_a_slip_hides_nothing_that_would_run(own):
    (own / "configs" / "demo.json").write_text("{")
    change(own, seed="$1")
    slip, code = refused(own)
    assert slip.startswith("own/configs/demo.json: is not to be read: demo.json:1:2: expecting")
    assert code == "own/configs/train.json: seed evaluates 1"


def test_ids_for_keys_nest_no_deeper_than_the_rest(own):
    (own / "configs" / "demo.json").write_text('{"' + "::".join("a" * 40) + '": 1}')
    (row,) = refused(own)
    assert "deeper than 32" in row


def test_a_slip_in_what_is_trusted_is_told_with_its_place(own):
    (own / "configs" / "train.json").write_text('{"epochs": 3, "epochs": 4}')
    with trusting(), pytest.raises(UsageError, match=r"train\.json:1:15: epochs: key stands twice"):
        find_bundle(own).config("train")


def test_a_link_is_not_data_and_cannot_be_trusted(own, tmp_path):
    (own / "configs" / "demo.json").rename(tmp_path / "demo.json")
    (own / "configs" / "demo.json").symlink_to(tmp_path / "demo.json")
    assert refused(own) == ["own/configs/demo.json: is a link"]
    with pytest.raises(UnsafeError, match="may change unseen"):
        trust(own)


def test_a_bundle_that_is_a_run_too_hides_nothing(own):
    (own / "config.json").write_text("{}")
    change(own, seed="$1")
    assert refused(own) == ["own/configs/train.json: seed evaluates 1"]


def test_long_and_hostile_texts_are_told_on_one_line(own):
    change(own, seed="$1\x1b[2J\n" + "x" * 5000)
    with pytest.raises(UnsafeError, match="E-TRUST") as caught:
        find_bundle(own)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert "\\x1b[2J\\n" in lines[1]
    assert len(lines[1]) < 400
