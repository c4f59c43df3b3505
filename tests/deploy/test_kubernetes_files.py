"""The manifests for Kubernetes and the image, without either: structure, names and commands."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from command_words import unknown
from validators import said

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
CHANGED = re.compile(r"#.*\bchange\b")


def documents(name):
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


def containers(node):
    """Yield every container below a node, with the pod's specification that it is in."""
    if isinstance(node, dict):
        for container in node.get("containers", ()):
            yield node, container
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from containers(each)


def bytes_of(text):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", text).groups()
    return int(number) << {"Mi": 20, "Gi": 30}[unit]


@pytest.fixture
def job():
    """The Indexed Job, and the service by which its pods find each other."""
    service, found = documents("train.yaml")
    assert (service["kind"], found["kind"]) == ("Service", "Job")
    return service, found


@pytest.mark.parametrize(
    "name", [pytest.param(file.name, id=file.stem) for file in sorted(FOLDER.glob("*.yaml"))]
)
def test_every_pod_is_as_it_should_be(name):
    found = [pair for document in documents(name) for pair in containers(document)]
    assert found
    for pod, container in found:
        assert pod["securityContext"]["runAsNonRoot"] is True
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        resources = container["resources"]
        # A pod that may take more than it asks for is the first to be ended.
        memory = resources["requests"]["memory"]
        assert memory == resources["limits"]["memory"]
        assert bytes_of(memory) >= 8 << 30
        assert set(resources["limits"]) <= {"memory", "nvidia.com/gpu"}


def test_pods_of_a_training_find_the_first_by_its_name(job):
    service, found = job
    name, spec = found["metadata"]["name"], found["spec"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert spec["template"]["spec"]["subdomain"] == service["metadata"]["name"]
    assert spec["completionMode"] == "Indexed"
    (port,) = service["spec"]["ports"]
    first = f"{name}-0.{service['metadata']['name']}:{port['port']}"
    ((_, container),) = containers(found)
    assert f"--rdzv-endpoint={first} " in container["command"][2]


def test_nodes_of_a_training_are_as_many_as_its_pods(job):
    _, found = job
    ((_, container),) = containers(found)
    nodes = re.search(r"--nnodes=(\d+)", container["command"][2])[1]
    assert {int(nodes)} == {found["spec"]["completions"], found["spec"]["parallelism"]}
    devices = re.search(r"--nproc-per-node=(\d+)", container["command"][2])[1]
    assert int(devices) == container["resources"]["limits"]["nvidia.com/gpu"]


def test_a_pod_of_a_training_runs_what_its_arguments_say(job, tmp_path):
    ((_, container),) = containers(job[1])
    script = tmp_path / "script.sh"
    script.write_text("#!/usr/bin/env bash\nset -eu\n" + container["command"][2])
    assert said("shellcheck", script) == []
    stand_in = tmp_path / "torchrun"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    runs = tmp_path / "runs"
    runs.mkdir()

    def words():
        text = container["command"][2].replace("/runs ", f"{runs} ")
        line = [*container["command"][:2], text, *container["command"][3:], *container["args"]]
        env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        return subprocess.run(
            line, env=env, check=True, capture_output=True, text=True
        ).stdout.split()

    fresh = words()
    place = fresh.index("medseg")
    assert fresh[place - 1 :] == ["-m", "medseg", "run", *container["args"], "--output", str(runs)]
    assert unknown(fresh[place:]) == []
    begun = runs / "uwmgi_segformer" / "20260101-000000-fold0"
    begun.mkdir(parents=True)
    (begun / "config.json").write_text("{}")
    assert words() == [*fresh, "--resume"]
    assert unknown(words()[place:]) == []


def test_the_job_of_a_ray_cluster_is_a_command():
    (job,) = documents("predict.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:2] == ["medseg", "predict"]
    assert unknown(words) == []
    assert words[-4:] == ["--engine", "ray", "--address", "auto"]
    assert job["spec"]["shutdownAfterJobFinishes"] is True


def test_the_ray_of_a_cluster_is_that_of_the_image_and_asks_for_a_token():
    (job,) = documents("predict.yaml")
    cluster = job["spec"]["rayClusterSpec"]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert f"ray=={cluster['rayVersion']}" in pins
    assert cluster["authOptions"] == {"mode": "token"}
    images = {container["image"] for _, container in containers(job)}
    assert images == {"medseg"}


def test_all_that_differs_from_place_to_place_is_marked():
    for file in FOLDER.glob("*.yaml"):
        lines = file.read_text(encoding="utf-8").splitlines()
        own = [line for line in lines if re.search(r"^\s*(image|claimName|nvidia.com/gpu):", line)]
        assert [line for line in own if not CHANGED.search(line)] == []


def test_the_image_has_what_a_wheel_is_made_of_and_is_nobody_s_root():
    text = DOCKERFILE.read_text(encoding="utf-8")
    copied = {
        word for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for word in line.split()
    }
    assert all((ROOT / word).exists() for word in copied)
    assert copied >= {"pyproject.toml", "constraints.txt", "medseg", "bundles", "pipelines"}
    assert "data_manifests" in copied
    assert "-c constraints.txt '.[scale]' 'ray[default]'" in text
    assert re.search(r"^USER 1000$", text, re.MULTILINE)
    assert text.index("apt-get install") < text.index("\nUSER 1000")
