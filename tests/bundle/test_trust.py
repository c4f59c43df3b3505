"""Trust: in the content, for its user alone, for once, or for good; in bundles, runs, pipelines."""

import json
import os
import stat
import zipfile

import pytest
from changed_bundle import change, copied

from medseg import resources
from medseg.bundle import find_bundle, trusted
from medseg.bundle.trust import digest_of, remember, require_trust, told, trust, trusting
from medseg.cli import main
from medseg.errors import UnsafeError, UsageError
from medseg.pipeline import read_pipeline
from medseg.runs import open_run

NAMES = resources.names("bundles")


@pytest.fixture(autouse=True)
def config_home(tmp_path, monkeypatch):
    """A configuration folder without a trust list."""
    home = tmp_path / "config"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    return home


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


@pytest.fixture
def strange(own):
    """A bundle with code of its own."""
    change(own, seed="$1 + 1")
    return own


def test_trust_is_in_the_content_and_ends_with_a_change(strange, tmp_path):
    trust(strange)
    assert find_bundle(strange).root == strange
    moved = strange.rename(tmp_path / "moved")
    assert find_bundle(moved).root == moved
    change(moved, "demo", epochs=3)
    with pytest.raises(UnsafeError, match="E-TRUST"):
        find_bundle(moved)


@pytest.mark.parametrize(
    "name",
    ["configs/metadata.json", "configs/logging.conf", "scripts/a.py", "net.py", "scripts/a.pyc"],
)
def test_every_file_that_decides_is_part_of_what_is_trusted(strange, name):
    before = digest_of(strange)
    (strange / name).parent.mkdir(exist_ok=True)
    with (strange / name).open("a") as stream:
        stream.write("\n")
    assert digest_of(strange) != before


def test_results_and_texts_are_no_part_of_what_is_trusted(strange):
    before = digest_of(strange)
    for name in ("docs/README.md", "models/model.pt", "runs/a/model.py", "eval/x.json"):
        (strange / name).parent.mkdir(exist_ok=True, parents=True)
        (strange / name).write_text("x")
    assert digest_of(strange) == before


def test_names_of_files_count_and_not_their_order(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name)
    rows = [(name, tmp_path / name) for name in "ab"]
    assert trusted.digest_of(rows) == trusted.digest_of(rows[::-1])
    swapped = [("b", tmp_path / "a"), ("a", tmp_path / "b")]
    assert trusted.digest_of(rows) != trusted.digest_of(swapped)


def test_the_list_is_for_its_user_alone(strange, config_home):
    trust(strange)
    file = config_home / "medseg" / "trusted.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.chmod(0o622)
    with pytest.raises(UnsafeError, match=r"E-TRUST-LIST.*others may write it"):
        find_bundle(strange)


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}'], ids=["cut off", "a list", "no rows"])
def test_a_damaged_list_trusts_nothing(strange, config_home, content):
    trust(strange)
    (config_home / "medseg" / "trusted.json").write_text(content)
    with pytest.raises(UnsafeError, match=r"E-TRUST-LIST.*is damaged"):
        find_bundle(strange)


def test_the_list_is_in_the_home_where_nothing_else_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for said in ("", "relative"):
        monkeypatch.setenv("XDG_CONFIG_HOME", said)
        assert trusted.list_file() == tmp_path / ".config" / "medseg" / "trusted.json"


def test_trusting_ends_with_its_block(strange):
    with trusting():
        find_bundle(strange)
    with pytest.raises(UnsafeError, match="E-TRUST"):
        find_bundle(strange)


def test_what_is_no_configuration_cannot_be_trusted(tmp_path):
    with pytest.raises(UsageError, match="is no bundle, run or configuration"):
        trust(tmp_path)


def test_a_run_from_elsewhere_is_refused(tmp_path, canary):
    (tmp_path / "config.json").write_text(json.dumps({"run": [f"$open('{canary}', 'w')"]}))
    with pytest.raises(UnsafeError, match=r"config\.json: run::0 evaluates open"):
        open_run(tmp_path)


def test_a_run_may_say_where_its_things_lie(tmp_path):
    places = {"output_dir": "/a/b", "store_dir": "/c d", "split_file": "/e/f", "weights": "a/b"}
    (tmp_path / "config.json").write_text(json.dumps(places))
    own = {"output_dir": str(tmp_path), "split_file": str(tmp_path / "splits.json")}
    assert open_run(tmp_path).config == {**places, **own}


def test_what_was_made_here_is_remembered(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"seed": "$1"}))
    remember(tmp_path)
    assert open_run(tmp_path).config == {"seed": "$1"}
    file.write_text(json.dumps({"seed": "$2"}))
    with pytest.raises(UnsafeError, match="seed evaluates 2"):
        open_run(tmp_path)


def test_data_needs_no_place_on_the_list(own, config_home):
    remember(own)
    assert not config_home.exists()


def test_a_list_that_cannot_be_written_is_a_warning(tmp_path, caplog, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps({"seed": "$1"}))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    remember(tmp_path)
    assert "[E-IO]" in caplog.text


def test_a_model_of_mlflow_is_looked_at(tmp_path, canary):
    file = tmp_path / "inference.json"
    file.write_text(
        json.dumps({"network_def": {"_target_": "os.system", "command": f"> {canary}"}})
    )
    with pytest.raises(UnsafeError, match=r"network_def::_target_ calls os\.system"):
        require_trust(file)


@pytest.mark.parametrize("place", ["settings", "demo", "run", "run's demo"])
def test_the_settings_of_a_pipeline_are_looked_at(tmp_path, place):
    settings = "settings: {loss: {_target_: os.system}}"
    run = {"run": f", {settings}", "run's demo": f", demo: {{{settings}}}"}.get(place, "")
    top = {"settings": settings, "demo": f"demo: {{{settings}}}"}.get(place, "")
    head = "title: t\nabout: a costs $5\nreal: r\ndata: uwmgi\n"
    file = tmp_path / "p.yaml"
    file.write_text(f"{head}{top}\nruns: [{{name: n, bundle: uwmgi_unet{run}}}]\n")
    with pytest.raises(UnsafeError, match=r"loss::_target_ calls os\.system"):
        read_pipeline(file)


def test_commands_end_with_5_and_tell_what_would_run(strange, canary, capsys):
    change(strange, loss={"_target_": "os.system", "command": f"touch {canary}"})
    (strange / "models").mkdir(exist_ok=True)
    (strange / "models" / "model.pt").write_text("")
    for command in (["run"], ["predict"], ["bundle", "check"]):
        more = [str(strange), "-o", str(canary.parent / "out")] if command == ["predict"] else []
        assert main([*command, str(strange), *more]) == 5
        told_of = capsys.readouterr().err
        assert "loss::_target_ calls os.system" in told_of
        assert "seed evaluates 1 + 1" in told_of


def test_an_option_trusts_for_once(strange, monkeypatch, capsys):
    monkeypatch.setattr("medseg.stages.bundle_check.CHECKS", {})
    assert main(["bundle", "check", str(strange), "--trust-bundle"]) == 0
    assert main(["bundle", "check", str(strange)]) == 5
    assert "E-TRUST" in capsys.readouterr().err


def test_trust_is_given_listed_and_taken_back(strange, capsys):
    assert main(["bundle", "trust", str(strange)]) == 0
    digest = digest_of(strange)
    assert capsys.readouterr().out.splitlines() == [
        "configs/train.json: seed evaluates 1 + 1",
        f"trusted: {strange} ({digest[:12]})",
    ]
    assert main(["bundle", "trust", "--list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["trusted"]
    assert (row["hash"], row["path"]) == (digest, str(strange))
    assert main(["bundle", "trust", "--remove", digest[:8]]) == 0
    assert capsys.readouterr().out == f"no longer trusted: {strange}\n"
    assert main(["bundle", "trust", "--list"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["bundle", "trust", "--remove", str(strange)]) == 2
    assert "is not trusted" in capsys.readouterr().err


def test_trust_is_taken_back_by_path(strange, capsys):
    trust(strange)
    assert main(["bundle", "trust", "--remove", os.path.relpath(strange)]) == 0
    assert trusted.listed() == {}
    assert "no longer trusted" in capsys.readouterr().out


def test_one_thing_at_a_time(strange, capsys):
    assert main(["bundle", "trust"]) == 2
    assert main(["bundle", "trust", str(strange), "--list"]) == 2
    assert "Give PATH, --list or --remove" in capsys.readouterr().err


def test_nothing_is_told_of_what_is_shipped():
    assert [told(resources.shipped("bundles", name)) for name in NAMES] == [[]] * len(NAMES)


def test_an_archive_is_no_bundle_and_is_not_opened(tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("../../out", "of the folder")
        content.writestr("configs/metadata.json", "{}")
    for words in (["run"], ["bundle", "check"], ["predict", "-o", "out"]):
        assert main([*words, str(archive), *["."] * (words[0] == "predict")]) == 2
        told = capsys.readouterr().err
        assert "error[E-BUNDLE]" in told
        assert "medseg opens none" in told
    assert main(["bundle", "trust", str(archive)]) == 2
    assert "is no bundle, run or configuration" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["empty", "bundle.zip"]
