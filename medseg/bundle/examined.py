"""A bundle under examination: what a check is given, and the ways it can end.

A *check* is a function of an `Examined` bundle. It returns what there is to tell, which may be
nothing, raises `Broken` with every reason it found, or `LeftOut` where it cannot be made.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from medseg.bundle.configuration import Bundle, Config, Opened, laid_over


class Broken(Exception):  # noqa: N818 - a verdict, not a fault of the check
    """The bundle does not keep to what was checked, for the reasons given."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))


class LeftOut(Exception):  # noqa: N818
    """The check cannot be made, for the reason given."""


def told(reasons: Iterable[str]) -> str:
    """Return nothing to tell, or raise Broken with the reasons there are."""
    if found := list(reasons):
        raise Broken(*found)
    return ""


@dataclass(frozen=True)
class Examined:
    """A bundle, and what checks of it may use.

    Attributes:
        bundle: The bundle.
        folder: An empty folder to write into.
        data: A folder of scans with labels, for the checks that read; None leaves them out.
        demo: Lay ``demo.json`` over each configuration, for its smaller network.
    """

    bundle: Bundle
    folder: Path
    data: Path | None = None
    demo: bool = False

    @cached_property
    def train(self) -> Config:
        """The configuration of training."""
        return self._config("train")

    @cached_property
    def inference(self) -> Config:
        """The configuration of inference."""
        return self._config("inference")

    def file(self, name: str) -> str:
        """Return the path of a configuration, as MONAI's own commands take it."""
        if not self.demo or name not in ("train", "inference"):
            return str(self.bundle.file(name))
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps(getattr(self, name)), encoding="utf-8")
        return str(file)

    def network(self, config: Config) -> Any:  # noqa: ANN401
        """Return the network of a configuration, untrained."""
        return Opened(config)["network_def"]

    def readable(self) -> Path:
        """Return the data.

        Raises:
            LeftOut: There are none.
        """
        if self.data is None:
            manifest = Path(str(self.train.get("manifest"))).stem
            raise LeftOut(f"there is no phantom of {manifest}, and no data was given")
        return self.data

    def _config(self, name: str) -> Config:
        config = self.bundle.config(name)
        return laid_over(config, self.bundle.written("demo")) if self.demo else config


Check = Callable[[Examined], str]
