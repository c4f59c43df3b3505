"""What the documents say can be done can be done: links, commands, versions."""

import os
import re
import tomllib
from pathlib import Path

import pytest
from command_words import commands, unknown
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("bundles/*/docs/*.md"),
        *ROOT.glob("data_manifests/*.md"),
        *ROOT.glob("pipelines/*.md"),
    ]
)
LINK = re.compile(r"\]\(([^)#\s]+)")


@pytest.mark.parametrize(
    "document", [pytest.param(file, id=str(file.relative_to(ROOT))) for file in DOCUMENTS]
)
def test_links_lead_somewhere(document):
    links = LINK.findall(document.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in local if not (document.parent / link).exists()] == []


@pytest.mark.parametrize(
    "document", [pytest.param(file, id=str(file.relative_to(ROOT))) for file in DOCUMENTS]
)
def test_commands_are_commands(document):
    lines = commands(document.read_text(encoding="utf-8"))
    assert {" ".join(words): unknown(words) for words in lines if unknown(words)} == {}


def test_the_guard_catches_what_is_no_command():
    text = "```\nmedseg doctr\nmedseg doctor --jsn  # a remark\nmedseg bundle list --json\n```\n"
    assert [unknown(words) for words in commands(text)] == [["doctr"], ["--jsn"], []]


def test_the_readme_fits_on_two_screens():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 80


def test_a_decision_fits_on_a_page():
    for file in (ROOT / "docs" / "decisions").glob("*.md"):
        assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", file.name)
        text = file.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 60
        assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
        ]


def test_constraints_pin_every_requirement_to_a_version_that_it_allows():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    extras = project["optional-dependencies"]
    wanted = [Requirement(row) for row in project["dependencies"] + extras["test"]]
    wrong = [
        str(row)
        for row in wanted
        if not row.specifier.contains(pins.get(canonicalize_name(row.name), "0"))
    ]
    assert wrong == []
    assert [pin for pin in lines if not re.fullmatch(r"[a-z0-9-]+==[\w.]+", pin)] == []
    assert {"torchvision", "timm", "segmentation-models-pytorch"}.isdisjoint(pins)


def test_the_oldest_versions_are_those_that_the_project_allows():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    wrong = []
    for row in project["dependencies"] + project["optional-dependencies"]["scale"]:
        name, least = re.fullmatch(r"([\w.-]+)>=([\d.]+)(?:,.*)?", row).groups()
        # Of 12 the first release may be 12.535.77.
        if not f"{pins.get(canonicalize_name(name))}.".startswith(f"{least}."):
            wrong.append(row)
    assert wrong == []


def test_what_decides_is_what_people_run():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").splitlines()[-1] == "exec make test"
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")
