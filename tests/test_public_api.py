"""What the packages offer is what they say they offer, and naming it costs nothing."""

import pkgutil
import re
import subprocess
import sys
from importlib import import_module
from types import ModuleType

import pytest

import medseg

HEAVY = (
    *("torch", "monai", "ignite", "transformers", "mlflow", "scipy", "matplotlib", "pandas"),
    *("nibabel", "pydicom", "highdicom", "itk", "SimpleITK", "einops", "PIL"),
)
PACKAGES = ["medseg"] + [
    f"medseg.{module.name}" for module in pkgutil.iter_modules(medseg.__path__) if module.ispkg
]


def by_kind(name):
    """Sort constants first, then classes, then the rest, as ruff sorts ``__all__``."""
    parts = [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, parts)


def offered(package):
    """Return what a user finds in a package besides its modules and the tools it uses."""
    return {
        name
        for name, value in vars(package).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and str(getattr(value, "__module__", "")).startswith(package.__name__)
    }


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in PACKAGES])
def test_all_is_sorted_and_equals_what_is_importable(name):
    package = import_module(name)
    listed = list(package.__all__)
    assert listed == sorted(set(listed), key=by_kind)
    assert all(getattr(package, public) is not None for public in listed)
    assert offered(package) <= set(listed)


def test_no_module_bears_the_name_of_a_network():
    """A bundle that names the network would get the module."""
    package = import_module("medseg.models")
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert modules & set(package.__all__) == set()


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in PACKAGES])
def test_everything_public_is_documented(name):
    package = import_module(name)
    assert len(package.__doc__) > len("TBD.")
    things = {public: getattr(package, public) for public in package.__all__}
    assert [n for n, thing in things.items() if callable(thing) and not thing.__doc__] == []


def test_importing_the_package_loads_nothing_heavy():
    code = f"import sys, medseg; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
