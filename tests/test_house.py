"""The house rules that a machine can check: sizes, words, and calls that are never safe."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("medseg", "tests", "benchmarks", "bundles")
PYTHON = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))

MODULES = {"pickle", "cPickle", "joblib", "dill", "shelve", "marshal"}
BUILTINS = {"eval", "exec", "__import__"}
CALLS = {"os.system", "os.popen", "yaml.load", "yaml.load_all", "yaml.unsafe_load"}
CALLS |= {"yaml.full_load", "pandas.read_pickle", "pd.read_pickle"}


def called(node):
    """Return the dotted name of what a call calls, such as ``torch.load``."""
    return ast.unparse(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""


def top(module):
    """Return the first part of a dotted name; nothing for ``from . import``."""
    return (module or "").split(".")[0]


def danger(node):
    """Return what is unsafe about one node of a syntax tree, or nothing."""
    if isinstance(node, ast.Import):
        return next((a.name for a in node.names if top(a.name) in MODULES), "")
    if isinstance(node, ast.ImportFrom):
        # What torch.load raises at a file that is no weights is an error, not a danger.
        harmless = node.module == "pickle" and {a.name for a in node.names} == {"UnpicklingError"}
        return node.module if top(node.module) in MODULES and not harmless else ""
    if not isinstance(node, ast.Call):
        return ""
    name = called(node)
    given = {word.arg: ast.unparse(word.value) for word in node.keywords}
    unsafe = (
        name in BUILTINS | CALLS
        or (name == "torch.load" and given.get("weights_only") != "True")
        or (name in {"np.load", "numpy.load"} and given.get("allow_pickle", "False") != "False")
        or (name.endswith(".extractall") and given.get("filter") != "'data'")
        or given.get("shell", "False") != "False"
    )
    return name if unsafe else ""


def dangers(source):
    """Return the unsafe imports and calls of a file, each with its line."""
    nodes = (node for node in ast.walk(ast.parse(source)) if danger(node))
    return [f"{node.lineno}: {danger(node)}" for node in nodes]


def test_there_are_files_to_check():
    assert len(PYTHON) > 20


def test_no_file_is_longer_than_400_lines():
    lengths = {str(f.relative_to(ROOT)): len(f.read_text("utf-8").splitlines()) for f in PYTHON}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_nothing_unsafe_is_called():
    found = {str(f.relative_to(ROOT)): dangers(f.read_text("utf-8")) for f in PYTHON}
    assert {name: rows for name, rows in found.items() if rows} == {}


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("torch.load(path)", id="torch.load by default"),
        pytest.param("torch.load(path, weights_only=False)", id="torch.load of anything"),
        pytest.param("import pickle", id="pickle"),
        pytest.param("from pickle import UnpicklingError, loads", id="pickle beside its error"),
        pytest.param("from joblib import load", id="joblib"),
        pytest.param("def f():\n    import dill.source", id="dill inside a function"),
        pytest.param("np.load(path, allow_pickle=True)", id="numpy with pickles"),
        pytest.param("yaml.load(text, Loader=yaml.Loader)", id="yaml.load"),
        pytest.param("eval(text)", id="eval"),
        pytest.param("exec(text)", id="exec"),
        pytest.param("subprocess.run(line, shell=True)", id="a shell"),
        pytest.param("os.system(line)", id="os.system"),
        pytest.param("tarfile.open(path).extractall(out)", id="extractall"),
    ],
)
def test_the_guard_catches(source):
    assert len(dangers(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("torch.load(path, weights_only=True)", id="torch.load of weights"),
        pytest.param("np.load(path)", id="numpy without pickles"),
        pytest.param("np.load(path, allow_pickle=False, mmap_mode='r')", id="numpy, saying so"),
        pytest.param("from pickle import UnpicklingError", id="the name of an error"),
        pytest.param("yaml.safe_load(text)", id="yaml.safe_load"),
        pytest.param("network.eval()", id="a network's eval mode"),
        pytest.param("tar.extractall(out, filter='data')", id="extractall of data"),
        pytest.param("subprocess.run(['git', 'log'])", id="no shell"),
    ],
)
def test_the_guard_allows(source):
    assert dangers(source) == []


def test_no_module_is_named_for_what_it_is_not_about():
    banned = {"utils", "util", "helpers", "helper", "common", "base", "misc", "registry"}
    assert [str(f.relative_to(ROOT)) for f in PYTHON if f.stem in banned] == []


def test_nothing_in_the_package_is_left_for_later():
    later = re.compile(r"\b(TODO|FIXME|XXX|TBD|HACK)\b|NotImplementedError")
    files = (f for f in PYTHON if f.is_relative_to(ROOT / "medseg"))
    assert [str(f.relative_to(ROOT)) for f in files if later.search(f.read_text("utf-8"))] == []


def test_test_files_have_names_of_their_own():
    # Test folders are no packages: of two files of one name pytest would import the first twice.
    names = Counter(f.name for f in (ROOT / "tests").rglob("*.py"))
    assert [name for name, count in names.items() if count > 1] == []
    assert "__init__.py" not in names
