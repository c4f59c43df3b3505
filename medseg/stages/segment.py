"""Segment: what ``medseg predict`` does, from a model's name and inputs to files, or to a PACS."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from medseg import __version__
from medseg.bundle import Config
from medseg.data.study_list import Study
from medseg.errors import Problem, UsageError
from medseg.runs import inference_config
from medseg.stages.cohort import Asked, predict_cohort
from medseg.stages.display import Display
from medseg.stages.study_record import Row, key_of
from medseg.transforms.export import OF_DICOM


@dataclass(frozen=True)
class Segmentation:
    """What the user asks for.

    Attributes:
        model: A run folder, a bundle with weights, or the address of a model in MLflow.
        settings: Overrides of the inference configuration, ``output_dir`` among them.
        inputs: What to segment.
        series: Which DICOM series of an input; None where there is one.
        asked: How files are called, and what may be replaced.
        deidentify: The file of the key that identifiers are mapped with; None leaves them.
        source: The PACS to fetch `studies` from.
        studies: Study instance UIDs.
        target: The PACS to send DICOM results to.
        tracking_uri: MLflow's store, for a model that lies there.
    """

    model: str
    settings: Mapping[str, Any]
    inputs: tuple[Path, ...] = ()
    series: str | None = None
    asked: Asked = field(default_factory=Asked)
    deidentify: Path | None = None
    source: str | None = None
    studies: tuple[str, ...] = ()
    target: str | None = None
    tracking_uri: str | None = None


def segment(wanted: Segmentation, display: Display) -> list[Row]:
    """Segment what the user asks for and return the record of each study.

    Raises:
        UsageError: What is asked for does not go together, or would overwrite something.
        PartialError: Some studies failed; the others are written.
        DataError: Every study failed.
    """
    _require_sense(wanted)
    config = inference_config(wanted.model, wanted.settings, tracking_uri=wanted.tracking_uri)
    asked = wanted.asked._replace(extras=_extras(wanted, config), key=_key(wanted))
    with _fetched(wanted) as fetched:
        given = [Study(path, series=wanted.series) for path in wanted.inputs]
        return predict_cohort(config, [*given, *fetched], display, asked)


def _require_sense(wanted: Segmentation) -> None:
    formats = wanted.settings.get("formats", ())
    problems = []
    if not wanted.inputs and not wanted.studies:
        problems.append(_misused("nothing to segment", "name inputs, or --from and --study"))
    if bool(wanted.source) != bool(wanted.studies):
        problems.append(_misused("--from and --study go together", "give both"))
    if wanted.target and not any(name in formats for name in OF_DICOM):
        fix = "give --format seg, rtstruct or both"
        problems.append(_misused("--to sends DICOM, and none is to be written", fix))
    if problems:
        raise UsageError(*problems)


def _misused(found: str, fix: str) -> Problem:
    return Problem("E-USAGE", "medseg predict", found, fix=fix)


def _extras(wanted: Segmentation, config: Config) -> dict[str, Any]:
    """Return what every item carries to the writers of DICOM; nothing where none is written."""
    if not any(name in config["formats"] for name in OF_DICOM):
        return {}
    from medseg.io.dicom_identity import read_identity
    from medseg.io.dicom_peers import peer_of
    from medseg.io.dicom_written import Algorithm

    name = "".join(
        c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in _name_of(wanted, config)
    )
    extras: dict[str, Any] = {"algorithm": Algorithm(name or "medseg", __version__)}
    if wanted.deidentify:
        extras["clean"] = read_identity(wanted.deidentify).clean
    if wanted.target:
        extras["peer"] = peer_of(wanted.target)
    return extras


def _name_of(wanted: Segmentation, config: Config) -> str:
    """Return what the model is called: by MLflow, else as its bundle is."""
    of_mlflow = wanted.model.partition(":/")[2]
    return of_mlflow or Path(config["bundle_root"]).resolve().name


def _key(wanted: Segmentation) -> str:
    return key_of(wanted.deidentify) if wanted.deidentify and wanted.deidentify.exists() else ""


@contextmanager
def _fetched(wanted: Segmentation) -> Iterator[list[Study]]:
    """Fetch the studies of a PACS into a folder that nobody else may open and that goes again."""
    if not wanted.source:
        yield []
        return
    from medseg.io.dicom_peers import peer_of

    peer = peer_of(wanted.source)
    with TemporaryDirectory(prefix="medseg-") as folder:
        studies = []
        for number, uid in enumerate(wanted.studies, 1):
            name = f"study_{uid.rpartition('.')[2][-8:]}"
            # Of a whole UID only that series is fetched; what else names one is looked for here.
            series = wanted.series if wanted.series and "." in wanted.series else None
            peer.fetch(uid, Path(folder, str(number)), series)
            studies.append(Study(Path(folder, str(number)), name, wanted.series))
        yield studies
