"""The command: it prints where the page is, and ends as people expect."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from predicted_folder import predicted

from medseg.cli import main


@pytest.fixture(scope="module")
def folder(tiny_phantom, tmp_path_factory):
    made = tmp_path_factory.mktemp("predictions")
    predicted(made, tiny_phantom)
    return made


@pytest.mark.parametrize(
    ("number", "code"),
    [pytest.param(signal.SIGINT, 0, id="Ctrl-C"), pytest.param(signal.SIGTERM, 143, id="SIGTERM")],
)
def test_the_command_serves_until_it_is_asked_to_end(folder, tiny_phantom, number, code):
    words = ["view", str(folder), "--images", str(tiny_phantom), "--port", "0"]
    command = [sys.executable, "-m", "medseg", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        said = process.stdout.readline()
        try:
            assert said.rstrip().endswith("(Ctrl-C ends it)")
            address = urlsplit(said.split()[0])
            connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
            connection.request("GET", f"{address.path}cases.json")
            told = json.loads(connection.getresponse().read())
            connection.close()
            process.send_signal(number)
            _, faults = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (address.scheme, address.hostname) == ("http", "127.0.0.1")
    assert re.fullmatch(r"/[\w-]{22}/", address.path)
    assert len(told["cases"]) == 6
    assert process.returncode == code
    assert faults.strip() == ""


def test_nothing_to_show_is_an_error_of_the_data(tmp_path, capsys):
    assert main(["view", str(tmp_path)]) == 3
    told = capsys.readouterr().err
    assert "error[E-EMPTY]" in told
    assert "Traceback" not in told


def test_a_port_in_use_is_an_error_of_the_machine(folder, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["view", str(folder), "--port", str(port)]) == 4
    assert f"error[E-PORT]: 127.0.0.1:{port}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "opened"), [pytest.param([], 0, id="no"), pytest.param(["--open"], 1, id="yes")]
)
def test_the_browser_opens_only_when_asked(folder, monkeypatch, capsys, words, opened):
    urls = []

    def serve(_what, *, port, ready):
        ready(f"http://127.0.0.1:{port}/")

    monkeypatch.setattr("medseg.stages.view.view", serve)
    monkeypatch.setattr("click.launch", urls.append)
    assert main(["view", str(folder), "--port", "4321", *words]) == 0
    assert capsys.readouterr().out == "http://127.0.0.1:4321/  (Ctrl-C ends it)\n"
    assert urls == ["http://127.0.0.1:4321/"] * opened


def test_there_is_no_way_to_serve_to_others(capsys):
    assert main(["view", "--help"]) == 0
    assert "--host" not in capsys.readouterr().out
    assert main(["view", ".", "--host", "0.0.0.0"]) == 2
