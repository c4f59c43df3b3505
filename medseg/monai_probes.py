"""The optional packages that MONAI probes while it is imported, imported when they are used.

``import monai`` executes every file of MONAI, and each asks `monai.utils.optional_import` for what
it may need one day: MLflow, pandas, scikit-learn, transformers, ITK. That is most of the time the
import takes, and every command that reads one scan pays it. With `defer` such a probe is answered
by a stand-in. On first use it asks MONAI's own function the same, and the file that holds it gets
what that returned in its place. Nothing is put into `sys.modules`, so that everyone else imports
these packages as ever.
"""

import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec
from types import ModuleType
from typing import Any

# Packages that medseg requires or that these bring, so that "it is there" is nearly always true.
# Left out is what MONAI uses while it is imported, and what takes no time.
DEFERRED = (
    "itk",
    "mlflow",
    "nibabel",
    "pandas",
    "pydicom",
    "scipy.signal",
    "sklearn",
    "transformers",
)
_PROBING = "monai.utils.module"
_OWN = ("_request", "_file", "_found")

Probe = Callable[..., tuple[Any, bool]]


class Deferred:
    """A stand-in for what MONAI would get now, which it gets on first use.

    It can be called, asked for attributes, given some, and be the class in `isinstance` and
    `issubclass`. A package that is installed but does not load is told by MONAI's own error then.

    Args:
        probe: MONAI's `optional_import`.
        asked: Its arguments; the first is the module.
        options: Its arguments by name.
        file: The names of the file that asked.
    """

    def __init__(
        self, probe: Probe, asked: tuple[Any, ...], options: dict[str, Any], file: dict[str, Any]
    ) -> None:
        self._request, self._file = (probe, asked, options), file
        self._found: list[Any] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(resolved(self), name)

    def __call__(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401, D102
        return resolved(self)(*args, **options)

    def __instancecheck__(self, other: object) -> bool:
        return isinstance(other, resolved(self))

    def __subclasscheck__(self, other: type) -> bool:
        return issubclass(other, resolved(self))

    def __deepcopy__(self, _memo: object) -> Any:  # noqa: ANN401
        return resolved(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _found, self._request


def resolved(stand_in: Deferred) -> Any:  # noqa: ANN401
    """Return what a stand-in stands for, and put it in place of the stand-in in its file.

    Other stand-ins of the file whose module is imported by then give way too: an exception, say,
    which must be a class where it is caught.
    """
    if not stand_in._found:
        stand_in._found.append(_found(*stand_in._request))
        _settle(stand_in, stand_in._found[0])
    return stand_in._found[0]


def _settle(stand_in: Deferred, found: Any) -> None:  # noqa: ANN401
    file = stand_in._file
    file.update({name: found for name, value in file.items() if value is stand_in})
    for name, value in vars(stand_in).items():
        if name not in _OWN:  # an attribute that the file gave it, such as `mlflow.entities`
            setattr(found, name, resolved(value) if type(value) is Deferred else value)
    for other in [value for value in file.values() if type(value) is Deferred]:
        if other._request[1][0] in sys.modules:
            resolved(other)


def _found(probe: Probe, asked: tuple[Any, ...], options: dict[str, Any]) -> Any:  # noqa: ANN401
    return probe(*asked, **options)[0]


def defer() -> None:
    """Let the next `import monai` leave out the packages in `DEFERRED`; once it ran, do nothing."""
    if _PROBING not in sys.modules and not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds the file that defines MONAI's probe, and then is no longer in the way."""

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if name != _PROBING:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        module.optional_import = deferring(module.optional_import)  # type: ignore[attr-defined]


def deferring(probe: Probe) -> Probe:
    """Return MONAI's probe, answering at once where a file of MONAI probes while it is imported.

    Who asks later, inside a function, wants to know and gets the true answer.
    """

    @wraps(probe)
    def optional_import(module: str, *args: Any, **options: Any) -> tuple[Any, bool]:  # noqa: ANN401
        caller = sys._getframe(1)
        importing = caller.f_code.co_name == "<module>"
        own = str(caller.f_globals.get("__name__", "")).startswith("monai.")
        # A stand-in can be no base class and no decorator, which is what `as_type` asks for.
        if importing and own and "as_type" not in options and _deferrable(module):
            return Deferred(probe, (module, *args), options, caller.f_globals), True
        return probe(module, *args, **options)

    return optional_import


def _deferrable(module: str) -> bool:
    """Whether `module` is listed, not imported yet, and of a package that is installed."""
    listed = any(f"{module}.".startswith(f"{name}.") for name in DEFERRED)
    package = module.partition(".")[0]
    return (
        listed
        and module not in sys.modules
        and (sys.modules.get(package) or find_spec(package)) is not None
    )
