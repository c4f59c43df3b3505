"""What keeps a command from a Ray cluster is told in a line, and within seconds."""

import os
import re
import socket
import subprocess

import pytest

from medseg.cli import main
from medseg.errors import ResourceError, UsageError
from medseg.stages.engines import machines_of
from medseg.stages.ray_address import require_answer, settings


@pytest.fixture
def silent_port():
    """The port of something that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def side(tmp_path):
    return str(tmp_path)


def told(capsys, side, *words):
    """Return the exit code and the one line of a command."""
    code = main(["evaluate", side, side, *words])
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    return code, line


def test_ray_that_is_not_installed_is_told_with_how_to_get_it(capsys, side, monkeypatch):
    monkeypatch.setattr("medseg.stages.engines.find_spec", lambda _name: None)
    code, line = told(capsys, side, "--engine", "ray")
    assert (code, line) == (
        2,
        'error[E-PACKAGE]: ray: is not installed. Fix: pip install "medseg[scale]".',
    )


def test_an_address_without_the_engine_is_a_mistake(capsys, side):
    code, line = told(capsys, side, "--address", "auto")
    assert (code, line) == (
        2,
        "error[E-USAGE]: auto: --address goes with --engine ray. Fix: give both.",
    )


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("here", id="no port"),
        pytest.param("host:70000", id="no such port"),
        pytest.param("host:12:13", id="two ports"),
        pytest.param("ray://host", id="a client's without a port"),
        pytest.param("http://host:6379/x", id="a page"),
        pytest.param("", id="nothing"),
    ],
)
def test_what_is_no_address_is_refused_before_anything_is_asked(capsys, side, address):
    code, line = told(capsys, side, "--engine", "ray", "--address", address)
    assert code == 2
    assert re.match(r"error\[E-RAY-ADDRESS\]: .*is no address of Ray \(expected auto, HOST", line)


def test_an_address_where_nothing_listens_is_told_at_once(capsys, side, silent_port):
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    code, line = told(capsys, side, "--engine", "ray", "--address", f"127.0.0.1:{free}")
    assert code == 4
    assert re.fullmatch(
        rf"error\[E-RAY-ADDRESS\]: 127\.0\.0\.1:{free}: does not answer: Connection refused\. "
        r"Fix: start it with 'ray start --head', or leave --address out .*",
        line,
    )


def test_what_listens_and_is_no_ray_is_told_after_seconds(silent_port, monkeypatch):
    monkeypatch.setattr("medseg.stages.ray_address._ANSWER_S", 0.5)
    with pytest.raises(ResourceError, match=r"E-RAY-ADDRESS.*did not answer as a Ray cluster"):
        require_answer(f"127.0.0.1:{silent_port}")


@pytest.mark.parametrize(
    ("stderr", "error", "match"),
    [
        pytest.param(
            "Traceback\nray.exceptions.AuthenticationError: RPC error: InvalidAuthToken",
            UsageError,
            r"E-RAY-TOKEN.*refused this user's token.*auth_token",
            id="another token",
        ),
        pytest.param(
            "Traceback\nConnectionError: Could not find any running Ray instance. Please specify.",
            ResourceError,
            r"E-RAY-ADDRESS\]: auto: Could not find any running Ray instance\. Fix: start it",
            id="none runs here",
        ),
        pytest.param("", ResourceError, r"no Ray cluster answers", id="not a word"),
    ],
)
def test_what_ray_says_of_a_cluster_becomes_one_problem(monkeypatch, stderr, error, match):
    done = subprocess.CompletedProcess([], 1, "", stderr)
    monkeypatch.setattr("medseg.stages.ray_address.subprocess.run", lambda *_a, **_k: done)
    with pytest.raises(error, match=match) as caught:
        require_answer("auto")
    assert len(caught.value.problems) == 1


def test_another_version_than_the_cluster_has_is_told(monkeypatch):
    ray = pytest.importorskip("ray")
    said = "Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.10.1\n"

    def refuse(**_how):
        raise RuntimeError(said)

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr("medseg.stages.ray_cluster.require_answer", lambda _address: None)
    found = r"E-RAY-VERSION.*auto: The cluster was started with: Ray: 2\.9\.0 Python: 3\.10\.1"
    with pytest.raises(UsageError, match=found), machines_of("ray", "auto"):
        pass


def test_a_client_that_is_not_installed_is_told(monkeypatch):
    ray = pytest.importorskip("ray")

    def refuse(**_how):
        raise ValueError("Ray Client requires pip package `ray[client]`.")

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr("medseg.stages.ray_cluster.require_answer", lambda _address: None)
    with (
        pytest.raises(ResourceError, match=r"E-RAY-ADDRESS.*ray\[client\].*--address HOST:PORT"),
        machines_of("ray", "ray://127.0.0.1:10001"),
    ):
        pass


@pytest.mark.parametrize(
    ("there", "mode"),
    [pytest.param(True, "token", id="a token"), pytest.param(False, None, id="none")],
)
def test_a_cluster_is_shown_the_users_token_where_there_is_one(tmp_path, monkeypatch, there, mode):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    if there:
        (tmp_path / "token").write_text("0" * 64)
    before = dict(os.environ)
    with settings("auto"):
        assert os.environ.get("RAY_AUTH_MODE") == mode
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert dict(os.environ) == before


def test_what_the_user_says_of_tokens_is_kept(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with settings("auto"):
        assert os.environ["RAY_AUTH_MODE"] == "disabled"
