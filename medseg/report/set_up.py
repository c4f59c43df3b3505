"""What a page says of how a run was set up: network, data, training and provenance, in rows."""

from collections.abc import Iterable, Mapping
from typing import Any

from medseg.report.facts import RunFacts, last_name
from medseg.report.page import counted, number

Rows = list[tuple[str, str]]


def network_rows(facts: RunFacts) -> Rows:
    """Return what was trained: network, input, output, start."""
    config, labels = facts.config, facts.manifest.labels
    parameters = facts.training.get("parameters")
    size = f", {parameters / 1e6:.1f} million parameters" if parameters else ""
    weights = config.get("weights")
    return _told(
        ("Network", f"{facts.network}{size}" if facts.network else ""),
        ("Input", _input(config)),
        ("Output", f"{', '.join(labels.names).replace('_', ' ')}; {_mode(config)}"),
        ("Started from", "pretrained weights" if weights else "random numbers"),
    )


def data_rows(facts: RunFacts) -> Rows:
    """Return what it was trained on, the counts of the sides aside."""
    manifest = facts.manifest
    slices = facts.training.get("slices", {})
    shown = ", ".join(f"{o.replace('_', ' ')} in {n}" for o, n in slices.get("organs", {}).items())
    left_out = ", ".join(manifest.excluded)
    who = manifest.known_bad[manifest.exclude].who if manifest.exclude else ""
    cited = f"{manifest.citation.text} doi:{manifest.citation.doi}"
    return _told(
        ("Data set", facts.data_title),
        ("About, as published", "" if facts.phantom else manifest.source.about),
        ("Training slices", f"{slices['slices']}: {shown}, none in {slices['empty']}")
        if slices
        else ("Training slices", ""),
        ("Split", f"{facts.split['rule']}; seed {facts.split['seed']}" if facts.split else ""),
        ("Left out", f"where the data hold them: {left_out}; so do {who}" if who else ""),
        ("Licence", "" if facts.phantom else manifest.licence.name),
        ("Citation", "" if facts.phantom else cited.removesuffix(" doi:")),
    )


def training_rows(facts: RunFacts) -> Rows:
    """Return how it was trained."""
    config = facts.config
    augmentation = config.get("augmentation")
    rate = (config.get("optimizer") or {}).get("lr", "")
    best = facts.best_epoch
    kept = f"; the parameters of epoch {best} validated best and were kept" if best else ""
    epochs = f"{len(facts.history)} of {config.get('epochs')}{kept}" if facts.history else ""
    return _told(
        ("Epochs", epochs),
        ("Batch", f"{config['batch_size']} slices" if "batch_size" in config else ""),
        ("Optimiser", f"{last_name(config.get('optimizer'))}, learning rate {rate}".strip(", ")),
        ("Loss", last_name(config.get("loss"))),
        ("Augmentation", _values(augmentation) if isinstance(augmentation, Mapping) else ""),
        ("Time", duration(facts.training_s)),
        ("Device", device(facts.provenance)),
    )


def provenance_rows(facts: RunFacts) -> Rows:
    """Return what it takes to explain and repeat the run."""
    found = facts.provenance
    git = found.get("git") or {}
    changed = ", with changes that were not committed" if git.get("dirty") else ""
    cuda = found.get("cuda") or {}
    versions = {**found.get("versions", {}), **{k: v for k, v in cuda.items() if v}}
    seeds = ", ".join(f"{seed} ({name})" for name, seed in found.get("seeds", {}).items())
    return _told(
        ("Run", f"{facts.experiment}, {facts.name}"),
        ("Started", found.get("started", "")),
        ("Command", " ".join(found.get("command", ()))),
        ("medseg", found.get("medseg", "")),
        ("Commit", f"{git['commit']} of {git['of']}{changed}" if git else ""),
        ("Seeds", seeds),
        ("Device", device(found)),
        ("System", f"Python {found['python']}, {found['os']}" if "python" in found else ""),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("SHA-256 of the split", facts.split.get("sha256", "")),
        ("SHA-256 of the weights", facts.weights.get("sha256", "")),
        ("SHA-256 of the configuration", facts.weights.get("config_sha256", "")),
    )


def device(provenance: Mapping[str, Any]) -> str:
    """Return what was computed on, as a machine's parts are named."""
    return "; ".join(_machine(one) for one in provenance.get("devices", ()))


def duration(seconds: float) -> str:
    """Return a time as people say it; nothing where there is none.

    >>> duration(75.2), duration(7260), duration(float("nan"))
    ('1 min 15 s', '2 h 1 min', '')
    """
    if not seconds >= 0:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _machine(part: Mapping[str, Any]) -> str:
    cores = f", {counted(part['cores'], 'core')}" if part.get("cores") else ""
    memory = f", {part['memory_bytes'] / 2**30:.0f} GiB" if part.get("memory_bytes") else ""
    return f"{part.get('name', '')} {part.get('model', '')}{cores}{memory}".strip()


def _input(config: Mapping[str, Any]) -> str:
    rows, columns = config.get("roi_px", (0, 0))
    spacing = " × ".join(number(mm) for mm in config.get("spacing_mm") or ())
    n = config.get("neighbours", 1)
    several = counted(n, "neighbouring slice") if n > 1 else "one slice"
    scale = f"spacing {spacing} mm" if spacing else "whatever size they had"
    return f"{several} at a time, {rows} × {columns} pixels, {scale}"


def _mode(config: Mapping[str, Any]) -> str:
    exclusive = config.get("label_mode") == "exclusive"
    return "one organ a voxel at most" if exclusive else "organs may overlap"


def _values(part: Mapping[str, Any]) -> str:
    settings = {k: v for k, v in part.items() if not k.startswith("_")}
    used = [f"{name.replace('_', ' ')} {value}" for name, value in settings.items() if value]
    return ", ".join(used).replace(" True", "") or "none"


def _told(*rows: tuple[str, Any]) -> Rows:
    return [(name, str(value)) for name, value in rows if value]


def joined(rows: Iterable[tuple[str, str]], *names: str) -> str:
    """Return the values of the rows with these names, as one text."""
    return "; ".join(value for name, value in rows if name in names)
