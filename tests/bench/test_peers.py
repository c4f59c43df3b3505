"""Environments of peers, and scripts that answer from another process."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from medseg.bench.peers import Peer, environment
from medseg.errors import ResourceError

ADDER = """
from medseg.bench.peers import serve
from medseg.bench.measure import Timed

print("some library greets")

def add(*, a, b, slow=False):
    print("some library talks")
    if b == 0:
        raise ValueError("nothing to add")
    return Timed(a + b, 7.0, 3.0) if slow else a + b

serve(add)
"""


@pytest.fixture
def adder(tmp_path):
    script = tmp_path / "adder.py"
    script.write_text(ADDER)
    return script


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("peers")
    return folder, environment("some", ["--no-index", "numpy"], folder=folder)


def test_an_environment_sees_the_packages_of_the_running_one(made):
    folder, python = made
    code = "import numpy, torch, medseg, sys; print(torch.__version__, sys.prefix)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [version("torch"), str((folder / "some").resolve())]


def test_an_environment_is_made_once(made):
    folder, python = made
    left = folder / "some" / "left.txt"
    left.write_text("here")
    assert environment("some", ["--no-index", "numpy"], folder=folder) == python
    assert left.exists()


def test_other_requirements_make_it_anew_and_a_failed_installation_is_told(made):
    folder, _ = made
    asked = ["--no-index", "no-such-package-of-anyone"]
    with pytest.raises(ResourceError, match=r"E-PEER\]: --no-deps --no-index"):
        environment("other", [], alone=asked, folder=folder)
    with pytest.raises(ResourceError, match=r"E-PEER.*pip failed.*No matching distribution"):
        environment("other", asked, folder=folder)
    # What is half made is not taken for made.
    with pytest.raises(ResourceError, match="E-PEER"):
        environment("other", asked, folder=folder)


def test_a_peer_may_not_bring_another_torch(made):
    folder, _ = made
    with pytest.raises(ResourceError, match="E-PEER"):
        environment("torch", ["--no-index", "torch<2"], folder=folder)


def test_a_script_answers_again_and_again(adder):
    with Peer(Path(sys.executable), adder) as peer:
        assert peer.call(a=2, b=3).output == 5
        again = peer.call(a=2.5, b=3)
    assert again.output == 5.5
    assert 0 <= again.wall_s < 1


def test_a_script_may_measure_itself(adder):
    with Peer(Path(sys.executable), adder) as peer:
        assert peer.call(a=1, b=1, slow=True) == (2, 7.0, 3.0)


def test_a_script_that_dies_is_told_with_its_last_words(adder):
    with (
        Peer(Path(sys.executable), adder) as peer,
        pytest.raises(ResourceError, match=r"adder\.py: ended with code 1: .*nothing to add"),
    ):
        peer.call(a=1, b=0)


def test_a_script_that_is_dead_stays_dead(tmp_path):
    script = tmp_path / "dead.py"
    script.write_text("raise SystemExit(3)")
    with Peer(Path(sys.executable), script) as peer:
        peer._process.wait()
        with pytest.raises(ResourceError, match=r"ended with code 3: it said nothing"):
            peer.call(a=1)


def test_messages_are_json(adder):
    with Peer(Path(sys.executable), adder) as peer, pytest.raises(TypeError, match="JSON"):
        peer.call(a=json)
