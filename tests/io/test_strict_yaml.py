"""YAML is plain data, and its faults have a line and a column."""

from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field

from medseg.errors import UsageError
from medseg.io import strict_yaml


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    weight: float = 1.0


class Whole(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: str
    parts: list[Part] = []
    named: dict[Annotated[str, Field(pattern="^[a-z]+$")], Part] = {}


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "whole.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_plain_data_are_read_with_their_places(written):
    document = strict_yaml.read(written("title: gut\nparts:\n  - name: colon\n"))
    assert document.data == {"title": "gut", "parts": [{"name": "colon"}]}
    assert document.marks["parts", 0, "name"] == (3, 5)


def test_an_empty_file_is_no_data(written):
    assert strict_yaml.read(written("# nothing\n")).data is None


def test_a_model_is_filled(written):
    whole = strict_yaml.read_model(written("title: gut\nparts: [{name: colon}]\n"), Whole)
    assert whole == Whole(title="gut", parts=[Part(name="colon")])


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        pytest.param("title: gut\ntitle: b", "2:1", "title: key stands twice", id="key twice"),
        pytest.param(
            "title: a\nnamed: {b: {name: c, name: d}}", "2:22", "named.b.name", id="deep key twice"
        ),
        pytest.param("title: &a gut\nb: *a", "1:8", "anchor or alias 'a'", id="alias"),
        pytest.param(
            "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "1:4", "anchor or alias", id="alias bomb"
        ),
        pytest.param("a: 1\nb: {<<: *a}", "2:9", "anchor or alias", id="merge"),
        pytest.param(
            "title: !!python/object/apply:os.system ['true']", "1:8", "constructor", id="tag"
        ),
        pytest.param("title: gut\n\tparts: []", "2:1", "'\\\\t'", id="tab"),
        pytest.param("title: [gut", "1:12", "expected", id="open bracket"),
        pytest.param("title: a\n---\ntitle: b", "2:1", "another document", id="two documents"),
        pytest.param("title: \x07", "1:1", "special characters", id="control character"),
        pytest.param("[" * 5000, "1:33", "nested too deeply", id="endless nesting"),
    ],
)
def test_what_is_not_plain_is_refused(written, text, place, found):
    with pytest.raises(UsageError, match=rf"whole\.yaml:{place}: .*{found}") as caught:
        strict_yaml.read(written(text))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "title: gut\npart: []",
            r"whole\.yaml:2:1: part: unknown key .*did you mean 'parts'\?",
            id="unknown key",
        ),
        pytest.param(
            "title: gut\nparts:\n  - nmae: colon",
            r"whole\.yaml:3:5: parts\[0\]\.nmae: unknown key .*did you mean 'name'\?",
            id="unknown key in a list",
        ),
        pytest.param(
            "title: gut\nnamed: {a: {name: b, wait: 2}}",
            r"whole\.yaml:2:22: named\.a\.wait: unknown key .*did you mean 'weight'\?",
            id="unknown key in a mapping",
        ),
        pytest.param("parts: []", r"whole\.yaml:1:1: title: is missing", id="missing key"),
        pytest.param(
            "title: gut\nparts:\n  - {name: a, weight: heavy}",
            r"whole\.yaml:3:15: parts\[0\]\.weight: .*valid number.*'heavy'",
            id="wrong type",
        ),
        pytest.param("- a", r"whole\.yaml:1:1: file: .*valid dictionary", id="a list"),
    ],
)
def test_the_model_complains_at_the_place(written, text, message):
    with pytest.raises(UsageError, match=message):
        strict_yaml.read_model(written(text), Whole)


def test_all_complaints_come_at_once(written):
    with pytest.raises(UsageError, match="title") as caught:
        strict_yaml.read_model(written("titel: a\nparts: 3"), Whole)
    assert len(caught.value.problems) == 3


def test_a_large_file_is_not_read(tmp_path):
    path = tmp_path / "large.yaml"
    path.write_bytes(b"# " + bytes(strict_yaml.MAX_BYTES))
    with pytest.raises(UsageError, match="at most 1048576 bytes"):
        strict_yaml.read(path)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.yaml: cannot be read: No such file"):
        strict_yaml.read(tmp_path / "gone.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"title: d\xe9j\xe0 vu")
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        strict_yaml.read(tmp_path / "latin.yaml")
