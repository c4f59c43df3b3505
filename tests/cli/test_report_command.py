"""``medseg report`` says where the page is."""

import json

import pytest
from reported_run import finished_run

from medseg.cli import main


@pytest.fixture(scope="module")
def folder(tiny_phantom, tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("run") / "uwmgi_unet" / "a", tiny_phantom).folder


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_the_page_is_written_into_the_run_and_named(folder, capsys, as_json):
    (folder / "report.html").unlink(missing_ok=True)
    assert main(["report", str(folder), *["--json"] * as_json]) == 0
    told = capsys.readouterr().out.strip()
    path = json.loads(told)["report"] if as_json else told.splitlines()[-1]
    assert path == str(folder / "report.html")
    assert (folder / "report.html").read_text("utf-8").startswith("<!doctype html>")


def test_a_folder_that_is_no_run_is_a_usage_error(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "error[E-RUN]" in capsys.readouterr().err


def test_a_stranger_beside_a_folder_is_not_opened(tmp_path, capsys):
    for name in ("asked", "stranger"):
        (tmp_path / name).mkdir()
    (tmp_path / "stranger" / "config.json").write_text('{"run": ["$open(\'/dev/null\')"]}')
    assert main(["report", str(tmp_path / "asked")]) == 2
    assert "error[E-RUN]" in capsys.readouterr().err
