"""What the source never does: run what it reads, unpack blindly, or ask the network on import.

The guard reads syntax trees. Names are followed through imports, so that ``from os import system``
and ``import torch as t`` hide nothing; a name that is passed on counts as one that is called.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("medseg", "tests", "benchmarks", "bundles")
PYTHON = sorted(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))

MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal"}
# What may be had of them all the same: errors are no danger.
HARMLESS = {"pickle.UnpicklingError"}
NEVER = {
    *("eval", "exec", "compile", "__import__"),
    *("builtins.eval", "builtins.exec", "builtins.compile", "builtins.__import__"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.unsafe_load_all"),
    *("yaml.full_load", "yaml.full_load_all", "pandas.read_pickle"),
    *("torch.hub.load", "torch.jit.load", "torch.package.PackageImporter"),
    *("mlflow.pyfunc.load_model", "mlflow.pytorch.load_model"),
    *("logging.config.fileConfig", "logging.config.listen"),
    *("tempfile.mktemp", "shutil.unpack_archive", "ssl._create_unverified_context"),
}
# Functions that are safe with one argument alone, and the value that it has to have.
WITH = {
    "torch.load": ("weights_only", "True"),
    "torch.serialization.load": ("weights_only", "True"),
}
# Arguments, of whatever is called, that may have one value or be left out.
ONLY = {"shell": "False", "allow_pickle": "False", "trust_remote_code": "False"}
NOT = {"verify": "False"}
NETWORK = {
    *("urllib.request.urlopen", "http.client", "requests", "httpx", "socket", "ftplib", "smtplib"),
    *("huggingface_hub", "torch.hub", "pynetdicom", "dicomweb_client"),
}

ARCHIVES = {"zipfile", "tarfile", "zipimport", "py7zr", "rarfile", "patoolib", "libarchive"}
UNPACKS = {"extractall", "unpack_archive"}
# A file of medseg, the archives it opens, and why it may.
OPENED = {
    ("medseg/engine/checkpoints.py", "zipfile"): "looks at the pickle of a checkpoint, in memory"
}

# A file, what it does, and why it may.
EXEMPT = {
    ("medseg/bundle/specification.py", "torch.jit.load"): "reads the script it wrote itself",
    ("tests/engine/test_checkpoint_files.py", "pickle"): "makes the file that is refused",
    ("tests/models/test_segformer.py", "torch.jit.load"): "reads the script it wrote itself",
    ("tests/stages/test_self_test.py", "torch.load"): "shows that what it wrote would do harm",
    ("tests/stages/test_register.py", "mlflow.pyfunc.load_model"): "a model the test registered",
}


def imported(tree):
    """Return what the names of a file stand for, by its imports."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                short = each.asname or each.name.partition(".")[0]
                names[short] = each.name if each.asname else short
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for each in node.names:
                names[each.asname or each.name] = f"{node.module}.{each.name}"
    return names


def full_name(node, names):
    """Return the dotted name of an expression as imports make it; nothing for another one."""
    ends = []
    while isinstance(node, ast.Attribute):
        ends.append(node.attr)
        node = node.value
    first = [names.get(node.id, node.id)] if isinstance(node, ast.Name) else []
    return ".".join([*first, *reversed(ends)]) if first else ""


def careful(call, names):
    """Whether a call gives the argument without which what it calls is unsafe."""
    wanted = WITH.get(full_name(call.func, names))
    if isinstance(call.func, ast.Attribute) and call.func.attr == "extractall":
        wanted = ("filter", "'data'")
    return wanted in [(word.arg, ast.unparse(word.value)) for word in call.keywords if wanted]


def modules_of(node):
    """Return the names that an import brings of modules that run what they read."""
    if isinstance(node, ast.Import):
        found = [each.name for each in node.names]
    elif isinstance(node, ast.ImportFrom) and not node.level:
        found = [f"{node.module}.{each.name}" for each in node.names]
    else:
        found = []
    return [name for name in found if name.split(".")[0] in MODULES and name not in HARMLESS]


@cache
def parsed(source):
    """Return the syntax tree of a file."""
    return ast.parse(source)


@cache
def dangers(source):
    """Return the unsafe things in a file, each as its line and name."""
    tree = parsed(source)
    nodes = list(ast.walk(tree))
    # An argument called compile is not the function.
    shadowed = any(isinstance(node, ast.arg) and node.arg == "compile" for node in nodes)
    names = imported(tree) | ({"compile": "an argument"} if shadowed else {})
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    safe = {id(call.func) for call in calls if careful(call, names)}
    rows = [(node.lineno, name) for node in nodes for name in modules_of(node)]
    for node in nodes:
        name = full_name(node, names)
        unpacks = isinstance(node, ast.Attribute) and node.attr == "extractall"
        if name in NEVER or ((name in WITH or unpacks) and id(node) not in safe):
            rows.append((node.lineno, name or node.attr))
    words = [word for call in calls for word in call.keywords if word.arg in ONLY | NOT]
    for word in words:
        value = ast.unparse(word.value)
        if value != ONLY.get(word.arg, value) or value == NOT.get(word.arg):
            rows.append((word.value.lineno, f"{word.arg}={value}"))
    return sorted(rows)


def at_import(tree):
    """Yield the nodes of a file that are worked through when it is imported."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            decorators = getattr(node, "decorator_list", [])
            waiting += [*decorators, *node.args.defaults, *filter(None, node.args.kw_defaults)]
        else:
            waiting += ast.iter_child_nodes(node)


def asked(source):
    """Return the calls of a file that may ask the network while it is imported."""
    tree = parsed(source)
    names = imported(tree)
    called = (full_name(n.func, names) for n in at_import(tree) if isinstance(n, ast.Call))
    return [c for c in called if any(f"{c}.".startswith(f"{each}.") for each in NETWORK)]


def told(file):
    """Return a file's path as it is told."""
    return file.relative_to(ROOT).as_posix()


def test_there_are_files_to_check():
    assert {"medseg", "tests", "benchmarks"} <= {told(file).split("/")[0] for file in PYTHON}


def test_nothing_unsafe_is_done():
    found = [
        f"{told(file)}:{line}: {name}"
        for file in PYTHON
        for line, name in dangers(file.read_text("utf-8"))
        if (told(file), name) not in EXEMPT
    ]
    assert found == []


def test_every_exemption_is_needed():
    done = {(told(f), name) for f in PYTHON for _, name in dangers(f.read_text("utf-8"))}
    assert EXEMPT.keys() - done == set()


def test_no_import_asks_the_network():
    found = {told(file): asked(file.read_text("utf-8")) for file in PYTHON}
    assert {name: calls for name, calls in found.items() if calls} == {}


def archives(source):
    """Return the modules for archives that a file imports, and what it calls to unpack others."""
    tree = parsed(source)
    names = imported(tree)
    found = {name.split(".")[0] for name in names.values()} & ARCHIVES
    found |= {each.split(".")[0] for each in _imported_modules(tree)} & ARCHIVES
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return sorted(found | (attributes & UNPACKS))


def _imported_modules(tree):
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return [
        name
        for node in nodes
        for name in (
            [each.name for each in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
        )
    ]


def test_no_archive_is_opened():
    files = {told(file): file for file in PYTHON if told(file).startswith("medseg/")}
    found = {
        (name, each) for name, file in files.items() for each in archives(file.read_text("utf-8"))
    }
    assert found == {*OPENED}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        pytest.param("import zipfile", ["zipfile"], id="zip"),
        pytest.param("import zipfile as z\nz.ZipFile(p)", ["zipfile"], id="by another name"),
        pytest.param("def f():\n    from tarfile import open", ["tarfile"], id="in a function"),
        pytest.param("import shutil\nshutil.unpack_archive(p)", ["unpack_archive"], id="shutil"),
        pytest.param("given.extractall(out)", ["extractall"], id="somebody else's archive"),
        pytest.param("import gzip, zlib\nzlib.decompressobj()", [], id="streams of one file"),
    ],
)
def test_archives_are_seen(source, found):
    assert archives(source) == found


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("import torch\ntorch.load(path)", id="torch.load by default"),
        pytest.param("import torch\ntorch.load(p, weights_only=False)", id="of anything"),
        pytest.param("import torch\ntorch.load(p, weights_only=given)", id="as somebody says"),
        pytest.param("import torch as t\nt.load(path)", id="torch by another name"),
        pytest.param("from torch import load\nload(path)", id="load by itself"),
        pytest.param("import torch\nmap(torch.load, paths)", id="torch.load passed on"),
        pytest.param("import torch\ntorch.jit.load(path)", id="torchscript"),
        pytest.param("import torch.hub\ntorch.hub.load(repo, name)", id="torch.hub"),
        pytest.param("import pickle", id="pickle"),
        pytest.param("from pickle import UnpicklingError, loads", id="pickle beside its error"),
        pytest.param("from joblib import load", id="joblib"),
        pytest.param("import cloudpickle as c", id="cloudpickle"),
        pytest.param("def f():\n    import dill.source", id="dill inside a function"),
        pytest.param("import shelve", id="shelve"),
        pytest.param("import marshal", id="marshal"),
        pytest.param("np.load(path, allow_pickle=True)", id="numpy with pickles"),
        pytest.param("np.load(path, allow_pickle=pickled)", id="numpy as somebody says"),
        pytest.param("import yaml\nyaml.load(text, Loader=yaml.Loader)", id="yaml.load"),
        pytest.param("from yaml import full_load as f\nf(text)", id="yaml.full_load, hidden"),
        pytest.param("eval(text)", id="eval"),
        pytest.param("exec(text)", id="exec"),
        pytest.param("compile(text, name, 'exec')", id="compile"),
        pytest.param("__import__(name)", id="an import by function"),
        pytest.param("import builtins\nbuiltins.eval(text)", id="eval with its module"),
        pytest.param("rows = list(map(eval, rows))", id="eval passed on"),
        pytest.param("subprocess.run(line, shell=True)", id="a shell"),
        pytest.param("subprocess.run(line, shell=given)", id="a shell as somebody says"),
        pytest.param("import os\nos.system(line)", id="os.system"),
        pytest.param("from os import popen\npopen(line)", id="os.popen"),
        pytest.param("tarfile.open(path).extractall(out)", id="extractall"),
        pytest.param("tar.extractall(out, filter='fully_trusted')", id="extractall of anything"),
        pytest.param("import shutil\nshutil.unpack_archive(path)", id="unpack_archive"),
        pytest.param("import tempfile\ntempfile.mktemp()", id="mktemp"),
        pytest.param("import logging.config\nlogging.config.fileConfig(p)", id="logging.conf"),
        pytest.param("session.get(url, verify=False)", id="certificates unchecked"),
        pytest.param("AutoModel.from_pretrained(n, trust_remote_code=True)", id="code of a hub"),
    ],
)
def test_the_guard_catches(source):
    assert len(dangers(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("import torch\ntorch.load(p, weights_only=True)", id="torch.load of weights"),
        pytest.param("np.load(path)", id="numpy without pickles"),
        pytest.param("np.load(path, allow_pickle=False, mmap_mode='r')", id="numpy, saying so"),
        pytest.param("from pickle import UnpicklingError", id="the name of an error"),
        pytest.param("import yaml\nyaml.safe_load(text)", id="yaml.safe_load"),
        pytest.param("network.eval()", id="a network's eval mode"),
        pytest.param("import re\nre.compile(text)", id="a pattern"),
        pytest.param("network.compile(mode=mode)", id="a network's compile"),
        pytest.param("tar.extractall(out, filter='data')", id="extractall of data"),
        pytest.param("subprocess.run(['git', 'log'], shell=False)", id="no shell"),
        pytest.param("session.get(url, verify=True)", id="certificates checked"),
    ],
)
def test_the_guard_allows(source):
    assert dangers(source) == []


@pytest.mark.parametrize(
    ("source", "calls"),
    [
        pytest.param("import requests\nrequests.get(u)", ["requests.get"], id="at the top"),
        pytest.param(
            "from urllib.request import urlopen as o\nclass A:\n    x = o(u)",
            ["urllib.request.urlopen"],
            id="in a class",
        ),
        pytest.param(
            "import socket\ndef f(x=socket.socket()):\n    x", ["socket.socket"], id="given"
        ),
        pytest.param("import httpx\n@httpx.hook(u)\ndef f(): ...", ["httpx.hook"], id="decorator"),
        pytest.param("import requests\ndef f():\n    requests.get(u)", [], id="in a function"),
        pytest.param("import requests\nf = lambda: requests.get(u)", [], id="in a lambda"),
        pytest.param("import requests_like\nrequests_like.get(u)", [], id="another module"),
    ],
)
def test_what_asks_the_network_on_import_is_seen(source, calls):
    assert asked(source) == calls
