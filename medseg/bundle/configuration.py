"""A MONAI bundle: find it, read its configuration with overlays and overrides, and open it.

A *configuration* is the text of ``configs/*.json`` before anything is built: plain data. Overlays
and overrides change it by *id*, such as ``epochs`` or ``train::dataloader::resident``. Opening a
configuration builds what it names; a bundle's configuration is code (it may name any callable), so
`find_bundle` opens only what is plainly data, or trusted (`medseg.bundle.trust`).
"""

import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

from medseg.bundle.naming import misnamed
from medseg.errors import Problem, UsageError, cause_of
from medseg.io import strict_json
from medseg.resources import shipped

Config = dict[str, Any]

# What training and inference both define, and each in its own way.
APART = frozenset(
    (
        *("bundle_root", "dataset_dir", "output_dir", "batch_size", "device", "initialize", "run"),
        *("preprocessing", "network_def", "_desc_"),
    )
)


@dataclass(frozen=True)
class Bundle:
    """A folder with ``configs/metadata.json`` and one configuration a purpose."""

    root: Path

    @property
    def name(self) -> str:
        """The folder's name, ``<data set>_<network>``."""
        return self.root.name

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The content of ``configs/metadata.json``."""
        return self.written("metadata")

    def written(self, name: str) -> dict[str, Any]:
        """Return the content of ``configs/<name>.json`` as it is written.

        Raises:
            UsageError: The file is missing or is no JSON object (E-JSON, with the place).
        """
        path = self.file(name)
        try:
            return strict_json.read(path)
        except UsageError as fault:
            # Of many bundles, which one.
            where = path.parent.relative_to(self.root.parent).as_posix()
            raise UsageError(
                *(
                    replace(row, subject=f"{where}/{Path(row.subject).name}")
                    for row in fault.problems
                )
            ) from fault

    def file(self, name: str) -> Path:
        """Return the path of ``configs/<name>.json``.

        Raises:
            UsageError: The bundle has no such file.
        """
        path = self.root / "configs" / f"{name}.json"
        if not path.is_file():
            raise UsageError(
                Problem("E-BUNDLE", self.name, f"configs/{name}.json is missing", fix="add it")
            )
        return path

    def config(self, *names: str, settings: Mapping[str, Any] | None = None) -> Config:
        """Return the configuration of ``configs/<name>.json``, later names laid over earlier ones.

        Args:
            names: Such as ``"train"``, ``"demo"``.
            settings: Overrides by id; text is read as JSON where it is JSON.

        Raises:
            UsageError: A file is missing or no JSON object, or a setting's id is not there: MONAI
                would accept a misspelt one in silence.
        """
        from monai.bundle import ConfigParser

        for name in names:  # MONAI warns where a key stands twice, and gives no place of a slip
            self.written(name)
        parser = ConfigParser()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="parsing config_file")
            parser.read_config([str(self.file(name)) for name in names])
        if set(names) & {"train", "inference"}:
            parser["bundle_root"] = str(self.root)
        config = {key: value for key, value in parser.config.items() if key != "_meta_"}
        return overridden(config, settings or {}, subject=self.name)


def find_bundle(target: str | Path) -> Bundle:
    """Return the bundle at the path `target`, or else the shipped bundle of that name.

    Raises:
        UsageError: It is neither.
        UnsafeError: It would run code that is neither shipped nor trusted; see `require_trust`.
    """
    path = Path(target)
    if (path / "configs").is_dir():
        from medseg.bundle.trust import require_trust

        require_trust(path)
        return Bundle(path.resolve())
    if path.is_dir():
        raise UsageError(
            Problem("E-BUNDLE", str(target), "has no folder configs", "a MONAI bundle", "see docs")
        )
    if path.is_file():
        fix = "unpack it first if it is an archive: medseg opens none"
        raise UsageError(Problem("E-BUNDLE", str(target), "is a file", "a bundle's folder", fix))
    return Bundle(shipped("bundles", path.name))


class Opened:
    """A configuration whose parts are built when they are asked for, each once.

    ``opened["train::trainer"]`` builds the trainer and what it refers to.
    """

    def __init__(self, config: Config) -> None:
        from monai.bundle import ConfigParser

        self._parser = ConfigParser(deepcopy(config))
        self._parser.parse(reset=True)

    def __getitem__(self, part: str) -> Any:  # noqa: ANN401 - whatever the configuration names
        """Return the part with the id `part`.

        Raises:
            MedsegError: What a part raised on purpose while it was built.
            UsageError: A library refused the values that one of its parts was given.
        """
        try:
            return self._parser.get_parsed_content(part)
        except RuntimeError as error:
            if told := cause_of(error) or _refused(error):
                raise told from None
            raise


def overridden(config: Config, settings: Mapping[str, Any], *, subject: str) -> Config:
    """Return a configuration with settings laid over it by id; text is read as JSON where it is.

    Raises:
        UsageError: An id is not there, a number is wanted, or something is named that does not
            exist (`misnamed`); `subject` names the configuration.
    """
    from monai.bundle import ConfigParser

    parser = ConfigParser(deepcopy(config))
    for key, value in _checked(settings, config, subject=subject).items():
        parser[key] = value
    if faults := misnamed(parser.config):
        raise UsageError(*faults)
    return {key: value for key, value in parser.config.items() if key != "_meta_"}


def laid_over(config: Config, overlay: Mapping[str, Any]) -> Config:
    """Return a configuration with an overlay's entries, but for sections that it does not have."""
    from monai.bundle import ConfigParser

    parser = ConfigParser(deepcopy(config))
    for key, value in overlay.items():
        if key.partition("::")[0] in config:
            parser[key] = value
    return {key: value for key, value in parser.config.items() if key != "_meta_"}


def ids(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield every id in a configuration, such as ``train::dataloader::resident``."""
    for key, value in config.items():
        yield prefix + key
        if isinstance(value, Mapping):
            yield from ids(value, f"{prefix}{key}::")


def carried_over(inference: Config, trained: Config) -> Config:
    """Return the inference configuration with the values that the trained one was run with.

    What both define as plain data (sizes, spacing, label mode, network) has to agree between
    training and inference; a run's own settings win over the bundle's file.
    """
    shared = {
        key: trained[key]
        for key, value in inference.items()
        if key in trained and key not in APART and type(value) is type(trained[key])
    }
    network = {k: v for k, v in trained["network_def"].items() if k != "weights"}
    return {**inference, **shared, "network_def": network}


def _refused(error: RuntimeError) -> UsageError | None:
    """Return what a library says against the values in the configuration, if that is the fault."""
    built = re.match(r"Failed to instantiate component '(?!medseg\.)([\w.]+)'", str(error))
    if built is None or not isinstance(error.__cause__, ValueError | TypeError):
        return None
    return UsageError(Problem("E-CONFIG", built[1], " ".join(str(error.__cause__).split())))


def _checked(settings: Mapping[str, Any], config: Config, *, subject: str) -> dict[str, Any]:
    """Return the settings with their values read, or raise with every fault among them."""
    known = list(ids(config))
    have = {key.replace("#", "::"): _value(value) for key, value in settings.items()}
    problems = [*_unknown(have, known, subject), *_mistyped(have, config, subject)]
    if problems:
        raise UsageError(*problems)
    return have


def _value(text: object) -> object:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _unknown(have: Mapping[str, Any], known: Sequence[str], subject: str) -> Iterator[Problem]:
    for key in have:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            fix = f"did you mean {near[0]}?" if near else "see the bundle's configs/train.json"
            yield Problem("E-SETTING", subject, f"has no setting '{key}'", fix=fix)


def _mistyped(have: Mapping[str, Any], config: Config, subject: str) -> Iterator[Problem]:
    for key, value in have.items():
        default = config.get(key)
        number = isinstance(default, int | float) and not isinstance(default, bool)
        if number and not isinstance(value, int | float) and not str(value).startswith(("$", "@")):
            yield Problem("E-SETTING", subject, f"{key} is {value!r}", f"a number like {default}")


def differences(before: Config, now: Config, *, ignore: set[str]) -> dict[str, tuple[str, str]]:
    """Return the top-level ids whose values differ, with both values as short text."""
    keys = sorted((before.keys() | now.keys()) - ignore)
    return {
        key: (_short(before.get(key)), _short(now.get(key)))
        for key in keys
        if before.get(key) != now.get(key)
    }


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
