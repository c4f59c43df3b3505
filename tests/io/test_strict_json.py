"""JSON is read with the place of every slip, or not at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import UsageError
from medseg.io import strict_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)

KEY = "x" * 2000


@given(content=st.dictionaries(st.text(), VALUES, max_size=4))
def test_plain_objects_are_what_json_says(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    assert strict_json.read(path) == content


@pytest.mark.parametrize(
    ("text", "place"),
    [
        pytest.param('{"a": 1, "a": 2}', r"f\.json:1:10: a: key", id="on one line"),
        pytest.param('{"a": 1,\n\t"b": 2,\n\t"a": 3}', r"f\.json:3:2: a: key", id="after tabs"),
        pytest.param('{"a": [{"b": 1}, {"b": 1, "b": 2}]}', r":1:27: a\[1\]\.b: key", id="deep"),
        pytest.param('{"\\ud800": 1, "\\ud800": 2}', r"f\.json:1:15: \\ud800: key", id="no text"),
        # YAML takes no such key, and so its reader cannot tell where it stands.
        pytest.param(f'{{"{KEY}": 1, "{KEY}": 2}}', r"f\.json:1:1: x{60}: key", id="a long one"),
    ],
)
def test_a_key_that_stands_twice_is_told_with_its_place(tmp_path, text, place):
    path = tmp_path / "f.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=place + " stands twice"):
        strict_json.read(path)


def test_all_keys_that_stand_twice_are_told(tmp_path):
    path = tmp_path / "f.json"
    path.write_text('{"a": 1, "b": 2, "a": 3, "b": 4}')
    with pytest.raises(UsageError, match="E-JSON") as caught:
        strict_json.read(path)
    assert [row.subject for row in caught.value.problems] == ["f.json:1:18", "f.json:1:26"]


def test_the_deepest_that_is_read(tmp_path):
    path = tmp_path / "f.json"
    path.write_text('{"a": ' + "[" * 31 + "]" * 31 + "}")
    assert list(strict_json.read(path)) == ["a"]
    path.write_text('{"a": ' + "[" * 32 + "]" * 32 + "}")
    with pytest.raises(UsageError, match="nested deeper than 32 levels"):
        strict_json.read(path)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"E-JSON.*none\.json: cannot be read: No such file"):
        strict_json.read(tmp_path / "none.json")
