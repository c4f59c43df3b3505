"""The house rules that a machine can check: sizes, names and words."""

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("medseg", "tests", "benchmarks", "bundles")
PYTHON = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))


def test_there_are_files_to_check():
    assert len(PYTHON) > 20


def test_no_file_is_longer_than_400_lines():
    lengths = {str(f.relative_to(ROOT)): len(f.read_text("utf-8").splitlines()) for f in PYTHON}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_no_module_is_named_for_what_it_is_not_about():
    banned = {"utils", "util", "helpers", "helper", "common", "base", "misc", "registry"}
    assert [str(f.relative_to(ROOT)) for f in PYTHON if f.stem in banned] == []


def test_nothing_in_the_package_is_left_for_later():
    later = re.compile(r"\b(TODO|FIXME|XXX|TBD|HACK)\b|NotImplementedError")
    files = (f for f in PYTHON if f.is_relative_to(ROOT / "medseg"))
    assert [str(f.relative_to(ROOT)) for f in files if later.search(f.read_text("utf-8"))] == []


def test_the_package_asserts_nothing():
    # With python -O it would then check nothing.
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in PYTHON
        if file.is_relative_to(ROOT / "medseg")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Assert) or (isinstance(node, ast.Name) and node.id == "__debug__")
    ]
    assert found == []


def test_test_files_have_names_of_their_own():
    # Test folders are no packages: of two files of one name pytest would import the first twice.
    names = Counter(f.name for f in (ROOT / "tests").rglob("*.py"))
    assert [name for name, count in names.items() if count > 1] == []
    assert "__init__.py" not in names
