"""What is written down about a run must explain it and tell nothing about who ran it where."""

import getpass
import hashlib
import json
import os
import socket
import subprocess
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path, PurePosixPath

import pytest

import medseg
from medseg.engine.provenance import config_hash, packages, portable, provenance, sha256_of


def told(**changes):
    return provenance(**{"seeds": {"split": 1}, "argv": ["/opt/bin/medseg", "run"]} | changes)


def test_it_is_json_and_names_versions_machine_and_seeds():
    facts = json.loads(json.dumps(told()))
    assert facts["medseg"] == medseg.__version__
    assert facts["seeds"] == {"split": 1}
    assert {"torch", "monai", "numpy"} <= set(facts["versions"])
    assert facts["devices"][0]["name"] == "cpu"
    assert facts["devices"][0]["cores"] >= 1


def test_it_names_neither_person_nor_machine_nor_place(tmp_path, monkeypatch):
    monkeypatch.setenv("MONAI_DATA_DIRECTORY", str(tmp_path / "data"))
    monkeypatch.setenv("HF_HOME", str(Path.home() / "models"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ann:secret@example.org")
    argv = [
        str(tmp_path / "medseg"),
        "run",
        "--data",
        str(tmp_path / "uwmgi"),
        f"--set=a={tmp_path}",
    ]
    text = json.dumps(told(argv=argv))
    for private in (
        str(tmp_path),
        str(Path.home()),
        str(Path.cwd()),
        "secret",
        socket.gethostname(),
    ):
        assert private not in text
    # A user called 'cpu' or 'run' would be found in any text.
    assert f"/{getpass.getuser()}/" not in text


def test_secrets_are_told_to_be_set_and_no_more(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "swordfish")
    monkeypatch.setenv("HF_TOKEN", "swordfish")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    variables = told()["environment"]
    assert variables["MLFLOW_TRACKING_PASSWORD"] == "(set)"
    assert variables["HF_TOKEN"] == "(set)"
    assert variables["OMP_NUM_THREADS"] == "2"


def test_the_command_line_keeps_its_options():
    argv = ["/opt/bin/medseg", "run", "uwmgi_segformer", "--set=epochs=3", "--data=/srv/x/uwmgi"]
    assert told(argv=argv)["command"] == [
        *("medseg", "run", "uwmgi_segformer", "--set=epochs=3", "--data=…")
    ]
    assert told(argv=["/opt/medseg/__main__.py"])["command"] == ["medseg"]


def test_the_start_is_told_in_utc():
    began = datetime(2026, 3, 1, 14, 30, tzinfo=timezone(timedelta(hours=2)))
    assert told(started=began)["started"] == "2026-03-01T12:30:00+00:00"
    now = datetime.fromisoformat(told()["started"])
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("/srv/data/uwmgi", "…/uwmgi", id="a path elsewhere keeps its last name"),
        pytest.param("/srv/my data/uwmgi", "…/uwmgi", id="a space is part of a path"),
        pytest.param("runs/a", "runs/a", id="a relative path stays"),
        pytest.param("$@root + '/eval'", "$@root + '/eval'", id="a piece of a path stays"),
        pytest.param("dice / 2", "dice / 2", id="a quotient stays"),
        pytest.param("https://host/a/b", "https://host/a/b", id="an address stays"),
        pytest.param("https://me:pw@host/a", "https://host/a", id="a login goes"),
        pytest.param("sqlite:////srv/x/mlflow.db", "sqlite:///…/mlflow.db", id="a store's path"),
        pytest.param("file:///srv/x/mlruns", "file://…/mlruns", id="a file address"),
        pytest.param("['/srv/a/b', '/srv/c/d']", "['…/b', '…/d']", id="paths inside a text"),
        pytest.param(r"C:\Users\ann\uwmgi", "…/uwmgi", id="a path of Windows"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_a_text_is_made_portable(text, expected):
    assert portable(text) == expected


def test_paths_below_the_working_folder_become_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert portable(str(tmp_path / "runs" / "a")) == "runs/a"
    assert portable(f"--data={tmp_path}/b/c") == "--data=b/c"
    assert portable(str(Path.home())) == "~"


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def installed_in(tmp_path, monkeypatch):
    """A medseg that is no checkout, and a working folder of one's own."""
    monkeypatch.setattr(medseg, "__file__", str(tmp_path / "site-packages/medseg/__init__.py"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return folder


def test_commit_and_changes_of_the_working_folder_are_told(installed_in):
    git(installed_in, "init", "-q")
    (installed_in / "a.txt").write_text("1")
    git(installed_in, "add", "a.txt")
    git(installed_in, "commit", "-q", "-m", "one")
    commit = git(installed_in, "rev-parse", "HEAD")
    assert told()["git"] == {"of": "working folder", "commit": commit, "dirty": False}
    (installed_in / "a.txt").write_text("2")
    assert told()["git"] == {"of": "working folder", "commit": commit, "dirty": True}


@pytest.mark.parametrize(
    "hidden", [pytest.param(False, id="no tree"), pytest.param(True, id="no git")]
)
def test_without_git_there_is_no_commit(installed_in, monkeypatch, hidden):
    if hidden:
        monkeypatch.setenv("PATH", str(installed_in))
    assert told()["git"] is None


def test_packages_are_sorted_and_told_once():
    rows = packages()
    assert rows == sorted(set(rows), key=lambda row: row.split("==")[0])
    assert any(row.startswith("torch==") for row in rows)
    assert not any(os.sep in row for row in rows)


def test_a_file_has_the_published_hash(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    (tmp_path / "empty").write_bytes(b"")
    # FIPS 180-4, the example of one block; and the hash of nothing.
    assert sha256_of(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")
    assert sha256_of(tmp_path / "empty").startswith("e3b0c44298fc1c149afbf4c8996fb924")


def test_a_configuration_hash_is_of_its_content():
    assert config_hash({"b": 1, "a": [1, 2]}) == config_hash({"a": (1, 2), "b": 1})
    assert config_hash({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()
    assert config_hash({"a": PurePosixPath("b/c")}) == config_hash({"a": "b/c"})
    assert config_hash({"a": 1}) != config_hash({"a": 2})


def test_what_has_no_stable_text_has_no_hash():
    with pytest.raises(TypeError, match="holds no object"):
        config_hash({"a": object()})
