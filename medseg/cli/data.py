"""``medseg data``: make, check, split and describe data sets."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from medseg.cli import options
from medseg.cli.lazy import Entry, LazyGroup
from medseg.cli.options import State
from medseg.errors import DataError, Problem, UsageError, shown

if TYPE_CHECKING:
    from medseg.data.manifest import Manifest
    from medseg.data.splits import Splits
    from medseg.stages.check import Report

_manifest = click.argument("manifest", default="uwmgi")
_data = click.option(
    "--data",
    "root",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the data set.",
)


class _Data(LazyGroup):
    entries: ClassVar[Mapping[str, Entry]] = {
        "prepare": Entry(
            "medseg.cli.data_prepare:prepare", "Fill the store for a bundle, here or on Ray."
        ),
        "new": Entry("medseg.cli.data_new:new", "Describe data of your own in a manifest."),
        "deidentify": Entry(
            "medseg.cli.data_deidentify:deidentify", "Copy DICOM images without whose they are."
        ),
        "to-dicom": Entry("medseg.cli.data_to_dicom:to_dicom", "Make a DICOM series of a volume."),
    }


@click.group(cls=_Data)
def data() -> None:
    """Make, check, prepare, split and describe data."""


@data.command()
@_manifest
@_data
@click.option(
    "--exclude",
    default="",
    metavar="LIST",
    help="List of known bad scans to leave out, or 'none'; default is the manifest's choice.",
)
@click.option("--fast", is_flag=True, help="Check names, headers and labels, decode no pixels.")
@click.option(
    "--report",
    "report_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write everything to this JSON file.",
)
@options.verbosity
@options.as_json
@options.pass_state
@click.pass_context
def check(context: click.Context, state: State, /, **asked: Any) -> None:  # noqa: ANN401
    """Tell everything that is wrong with a data set.

    MANIFEST is the name of a data set that medseg knows, or a file. Ends with 3 when the data must
    not be used as they are.
    """
    from medseg.cli.display import display
    from medseg.stages.check import check as check_stage

    report_file: Path | None = asked["report_file"]
    exclude = None if asked["exclude"] == "none" else asked["exclude"]
    with display(quiet=state.json or state.verbosity < 0) as shown_on:
        report = check_stage(
            asked["root"], asked["manifest"], shown_on, exclude=exclude, pixels=not asked["fast"]
        )
    if report_file:
        report.write(report_file)
    click.echo(json.dumps(report.as_dict()) if state.json else _told(report))
    if report.findings.errors:
        context.exit(DataError.exit_code)


@data.command()
@_manifest
@options.verbosity
@options.as_json
@options.pass_state
def info(state: State, manifest: str) -> None:
    """Tell source, licence, labels and known bad scans."""
    from medseg.data.manifest import read_manifest

    facts = read_manifest(manifest)
    if state.json:
        click.echo(json.dumps(facts.model_dump(mode="json", by_alias=True)))
    else:
        click.echo(_described(facts))


@data.command()
@_manifest
@_data
@click.option("--folds", type=click.IntRange(min=2), help="Groups; default is the manifest's.")
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("splits.json"),
    show_default=True,
    help="File to write.",
)
@click.option("--overwrite", is_flag=True, help="Replace another split of that name.")
@options.seed
@options.verbosity
@options.as_json
@options.pass_state
def split(state: State, /, **asked: Any) -> None:  # noqa: ANN401
    """Part patients into groups for training and test.

    Proves that no patient and no picture is on two sides.
    """
    from medseg.data.manifest import read_manifest
    from medseg.data.readers import read_scans
    from medseg.data.splits import make_splits

    facts, out = read_manifest(asked["manifest"]), asked["out"]
    scans = read_scans(asked["root"], facts)
    splits = make_splits(
        scans,
        folds=asked["folds"] or facts.split.folds,
        seed=asked["seed"] or 0,
        manifest=facts.name,
    )
    splits.verify(scans)
    if out.exists() and not asked["overwrite"] and out.read_text("utf-8") != splits.text:
        fix = "name another file, or give --overwrite"
        raise UsageError(Problem("E-EXISTS", str(out), "holds another split", fix=fix))
    splits.write(out)
    if state.json:
        click.echo(json.dumps({"file": str(out), "sha256": splits.sha256, "groups": splits.groups}))
    else:
        click.echo(f"{_grouped(splits)}\n{out}: SHA-256 {splits.sha256}")


@data.command()
@_manifest
@_data
@click.option(
    "--test-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="Of all slices.",
)
@options.seed
@options.verbosity
@options.as_json
@options.pass_state
def leak(state: State, /, **asked: Any) -> None:  # noqa: ANN401
    """Tell what a split by slices would leak; it is written nowhere.

    Draws slices at random for testing, as many papers do, and scores the model that needs no
    training then: copying the outlines of the nearest slice on the other side.
    """
    from medseg.cli.display import display
    from medseg.data.manifest import read_manifest
    from medseg.data.readers import read_scans
    from medseg.data.splits import random_slice_split
    from medseg.report.reported import Reported, reported_plain, slice_table
    from medseg.report.score_tables import aligned
    from medseg.stages.leak import measure_leak

    facts = read_manifest(asked["manifest"])
    scans = [scan for scan in read_scans(asked["root"], facts) if scan.rle is not None]
    split = random_slice_split(scans, test_share=asked["test_share"], seed=asked["seed"] or 0)
    with display(quiet=state.json or state.verbosity < 0) as shown_on:
        found = measure_leak(scans, split, facts.labels, display=shown_on)
    if state.json:
        copied = reported_plain(Reported(slice_wise=found.copied))["slice_wise"]
        click.echo(json.dumps({**found._asdict(), "copied": copied}))
        return
    click.echo(
        f"{found.n_torn} of {found.n_patients} patients have slices on both sides\n"
        f"{found.n_beside} of {found.n_test} test slices lie beside a training slice\n"
        f"copying the nearest training slice, with no model at all, scores on the test slices\n\n"
        f"{aligned(slice_table(found.copied))}"
    )


@data.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--like", default="uwmgi", show_default=True, help="Data set to make a twin of.")
@click.option("--patients", type=int, help="Random people of uwmgi [6] or lgg [15].")
@click.option("--days", type=int, help="Scans of each person of uwmgi [2].")
@click.option("--pairs", type=int, help="Pictures with masks of cells [50].")
@options.seed
@options.verbosity
@options.as_json
@options.pass_state
def phantom(state: State, /, *, out: Path, like: str, seed: int | None, **counts: int) -> None:
    """Write a computed twin of a data set, laid out as that is.

    OUT is a new or empty folder.
    """
    from medseg.cli.display import display
    from medseg.data.phantom import write_phantom

    chosen: dict[str, Any] = {n: count for n, count in counts.items() if count is not None}
    scans = 0
    with display(quiet=state.json or state.verbosity < 0) as shown_on:

        def advance(done: int, total: int) -> None:
            nonlocal scans
            if not scans:
                shown_on.begin("phantom", total)
            scans = done
            shown_on.advance(done, total)

        write_phantom(out, like=like, seed=seed or 0, progress=advance, **chosen)
    if state.json:
        click.echo(json.dumps({"data": str(out), "like": like, "scans": scans}))


def _told(report: "Report") -> str:
    """Return a report as text: what the data hold, then what is wrong, errors first."""
    summary, findings = report.summary, report.findings
    rows = [
        ("data set", f"{report.manifest.title}, {report.root}"),
        ("patients", f"{summary.patients}"),
        (
            "scans",
            f"{summary.scans} of {findings.n_found} usable, {summary.labelled} labelled",
        ),
        ("slices", f"{summary.slices}"),
        ("sizes", _counted(summary.sizes_px, "scans", " px")),
        ("spacings", _counted(summary.spacings_mm, "scans", " mm")),
    ]
    if summary.labelled:
        rows += [
            ("organs", _counted(summary.organ_slices, "slices")),
            ("empty", f"{summary.empty_slices} labelled slices show no organ"),
            ("overlaps", _counted(summary.overlap_slices, "slices") or "none"),
        ]
    lines = [f"{name:<14}{text}" for name, text in rows if text]
    if findings.problems:
        lines.append(shown((*findings.errors, *findings.warnings)))
    verdict = "must not be used as it is" if findings.errors else "sound"
    counts = f"{len(findings.errors)} errors, {len(findings.warnings)} warnings"
    return "\n".join([*lines, f"{counts}: {verdict}"])


def _counted(counts: dict[str, int], unit: str, suffix: str = "") -> str:
    return ", ".join(f"{name}{suffix} in {count} {unit}" for name, count in counts.items())


def _described(facts: "Manifest") -> str:
    labels = [
        f"  {organ.name:<14}code {organ.code}, SNOMED CT {organ.snomed or 'none'} ({organ.meaning})"
        for organ in facts.labels.organs
    ]
    bad = [
        f"  {name:<14}{len(known.scans)} scans, left out by {known.who}"
        f"{' (in force)' if name == facts.exclude else ''}"
        for name, known in facts.known_bad.items()
    ]
    return "\n".join(
        [
            facts.title,
            facts.source.about.strip(),
            f"source        {facts.source.url}",
            f"licence       {facts.licence.name}. {facts.licence.note}".rstrip(),
            f"cite          {facts.citation.text.strip()} doi:{facts.citation.doi}".removesuffix(
                " doi:"
            ),
            f"files         {facts.layout.images}",
            f"axes          {_axes(facts)}",
            *["labels", *labels],
            *["known bad", *bad],
            f"split         by {facts.split.by}, {facts.split.folds} folds",
        ]
    )


def _axes(facts: "Manifest") -> str:
    """Return where the axes of an array go and how far its voxels are apart, as far as is told."""
    if facts.axis_codes is None:
        return "as each file says"
    axes = ", ".join(facts.axis_codes)
    if facts.spacing_z_mm is not None:
        return f"{axes}; {facts.spacing_z_mm:g} mm a slice"
    spacing = " x ".join(f"{side_mm:g}" for side_mm in facts.spacing_mm or ())
    return f"{axes}; {spacing} mm a voxel{'' if facts.spacing_known else ', taken for want of any'}"


def _grouped(splits: "Splits") -> str:
    """Return a line a group: its patients, scans and slices of each organ."""
    lines = []
    for index, group in enumerate(splits.groups):
        owned = [facts for facts in splits.scans.values() if facts.patient in group]
        organs = sorted({organ for facts in owned for organ in facts.organ_slices})
        counts = {o: sum(facts.organ_slices.get(o, 0) for facts in owned) for o in organs}
        lines.append(
            f"group {index}: {len(group)} patients, {len(owned)} scans, "
            f"{_counted(counts, 'slices')}: {', '.join(group)}"
        )
    return "\n".join(lines)
