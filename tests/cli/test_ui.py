"""The real MLflow server, started by the command on a free port of this machine."""

import http.client
import json
import signal
import socket
import subprocess
import sys
from itertools import pairwise
from urllib.parse import urlencode, urlsplit

import psutil
import pytest

from medseg.cli import main
from medseg.engine import ui_server
from medseg.errors import ResourceError, Stopped
from medseg.stages import ui as stage


def empty_store(output):
    """A file is enough of a store for everything that is checked before the server starts."""
    output.mkdir(exist_ok=True)
    (output / "mlflow.db").touch()
    return output


def test_without_a_store_it_says_what_to_do(tmp_path, capsys):
    assert main(["ui", "--output", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "error[E-NO-STORE]" in told
    assert "medseg run" in told
    assert "Traceback" not in told


def test_a_port_in_use_is_told_at_once(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["ui", "--output", str(empty_store(tmp_path)), "--port", str(port)]) == 4
    told = capsys.readouterr().err
    assert f"error[E-PORT]: 127.0.0.1:{port}: Address already in use" in told
    assert f"--port {port + 1}" in told


def test_help_says_that_there_is_no_password(capsys):
    assert main(["ui", "--help"]) == 0
    assert "asks nobody for a password" in " ".join(capsys.readouterr().out.split())


def stand_in(monkeypatch, code):
    """Let the stage start `code` in place of MLflow; return the processes it started."""
    started = []

    def start(_output, _host, port, said):
        command = [sys.executable, "-c", code, str(port)]
        started.append(subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True))
        return started[0]

    monkeypatch.setattr(stage, "started", start)
    return started


HEALTHY = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
HTTPServer(("127.0.0.1", int(sys.argv[1])), Health).serve_forever()
"""


def test_ctrl_c_is_the_way_to_end_and_no_fault(tmp_path, monkeypatch):
    started, addresses = stand_in(monkeypatch, HEALTHY), []

    def ready(address):
        addresses.append(address)
        raise KeyboardInterrupt

    stage.serve(empty_store(tmp_path), host="127.0.0.1", port=0, ready=ready)
    assert addresses[0].startswith("http://127.0.0.1:")
    assert started[0].poll() is not None


def test_a_signal_ends_the_server_and_keeps_its_exit_code(tmp_path, monkeypatch):
    started = stand_in(monkeypatch, HEALTHY)

    def ready(_address):
        raise Stopped(signal.SIGTERM)

    with pytest.raises(Stopped, match=str(int(signal.SIGTERM))) as stopped:
        stage.serve(empty_store(tmp_path), host="127.0.0.1", port=0, ready=ready)
    assert stopped.value.exit_code == 143
    assert started[0].poll() is not None


@pytest.mark.parametrize(
    ("code", "found"),
    [
        pytest.param("import sys; sys.exit('no such table')", "does not start", id="fails"),
        pytest.param("import time; time.sleep(60)", "does not answer within 0 s", id="hangs"),
    ],
)
def test_a_server_that_does_not_come_up_is_told(tmp_path, monkeypatch, code, found):
    started = stand_in(monkeypatch, code)
    if "sleep" in code:
        monkeypatch.setattr("medseg.engine.ui_server._START_PATIENCE_S", 0.3)
    with pytest.raises(ResourceError, match=rf"E-UI.*{found}"):
        stage.serve(empty_store(tmp_path), host="127.0.0.1", port=0, ready=print)
    assert started[0].poll() is not None


def test_a_server_that_ends_later_is_told(tmp_path, monkeypatch):
    started = stand_in(monkeypatch, HEALTHY)
    with pytest.raises(ResourceError, match=r"E-UI.*ended by itself"):
        stage.serve(
            empty_store(tmp_path), host="127.0.0.1", port=0, ready=lambda _: started[0].kill()
        )


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """An output folder with one finished run that has a metric and an artifact."""
    from medseg.engine.tracking import Tracker, default_uri

    folder = tmp_path_factory.mktemp("runs")
    note = folder / "note.txt"
    note.write_text("a note")
    tracker = Tracker(
        default_uri(folder),
        experiment="uwmgi_segformer",
        run_name="fold 0",
        output=folder / "run",
        params={},
        tags={},
    )
    with tracker:
        tracker.log_metrics({"val/dice/mean": 0.5}, step=1)
        tracker.log_artifact(note)
    return folder


@pytest.fixture(scope="module")
def server(output):
    """The running command and the address it printed."""
    command = [sys.executable, "-m", "medseg", "ui", "--output", str(output), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    address = process.stdout.readline().split()
    if not address:
        pytest.fail(process.communicate()[1])
    yield process, urlsplit(address[0])
    process.kill()
    process.communicate()


def ask(address, method, path, body=None, **headers):
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    connection.request(method, path, body, {"Content-Type": "application/json"} | headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


@pytest.mark.slow
def test_the_page_and_the_runs_are_served_on_this_machine_alone(server, output):
    _, address = server
    assert address.hostname == "127.0.0.1"
    status, page = ask(address, "GET", "/")
    assert (status, "<!doctype html>" in page.lower()) == (200, True)

    status, text = ask(
        address, "POST", "/api/2.0/mlflow/experiments/search", json.dumps({"max_results": 10})
    )
    experiments = {e["name"]: e["experiment_id"] for e in json.loads(text)["experiments"]}
    assert "uwmgi_segformer" in experiments

    body = json.dumps({"experiment_ids": [experiments["uwmgi_segformer"]]})
    (run,) = json.loads(ask(address, "POST", "/api/2.0/mlflow/runs/search", body)[1])["runs"]
    assert run["info"]["run_name"] == "fold 0"
    assert run["data"]["metrics"][0]["key"] == "val/dice/mean"

    query = urlencode({"run_uuid": run["info"]["run_id"], "path": "note.txt"})
    assert ask(address, "GET", f"/get-artifact?{query}") == (200, "a note")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "status"),
    [
        pytest.param("localhost:5000", 403, id="another port"),
        pytest.param("evil.example", 403, id="another name"),
        pytest.param("10.evil.example", 403, id="a name like a private address"),
        pytest.param("192.168.1.7", 403, id="a private address"),
        pytest.param("localhost", 200, id="this machine"),
    ],
)
def test_no_page_of_another_origin_is_answered(server, host, status):
    _, address = server
    assert ask(address, "GET", "/", Host=host)[0] == status


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        pytest.param(
            "127.0.0.1",
            ["127.0.0.1,127.0.0.1:4321,localhost,localhost:4321"],
            id="this machine",
        ),
        pytest.param("0.0.0.0", [], id="anywhere"),
    ],
)
def test_mlflow_is_told_whom_to_answer_as(tmp_path, monkeypatch, host, allowed):
    commands = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **_: commands.append(command))
    ui_server.started(tmp_path, host, 4321, None)
    ((*_, words),) = [commands]
    given = [after for word, after in pairwise(words) if word == "--allowed-hosts"]
    assert given == allowed


@pytest.mark.slow
def test_ctrl_c_ends_the_server_and_all_its_processes(server):
    process, address = server
    every = psutil.Process(process.pid).children(recursive=True)
    assert every
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in told
    assert not psutil.wait_procs(every, timeout=10)[1]
    with pytest.raises(ConnectionRefusedError, match="refused"):
        ask(address, "GET", "/health")


@pytest.mark.slow
def test_a_store_that_is_none_ends_with_what_the_server_said(tmp_path, capsys):
    (tmp_path / "mlflow.db").write_text("this is no database, and long enough to tell" * 9)
    assert main(["ui", "--output", str(tmp_path), "--port", "0"]) == 4
    told = capsys.readouterr().err
    assert "error[E-UI]: MLflow server: does not start" in told
    assert "file is not a database" in told
