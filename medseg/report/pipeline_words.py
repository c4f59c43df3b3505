"""What may be concluded from a pipeline, in sentences, and what may not."""

from collections.abc import Iterator

from medseg.metrics.slicewise import ALL
from medseg.report.conclusions import conclusions, counted, percent
from medseg.report.pipeline_results import EntryResult, Results, Vote


def sentences(results: Results) -> list[str]:
    """Return what the comparison allows to say, gaps first."""
    told = [_gap(entry) for entry in results.entries if len(entry.done) < len(entry.runs)]
    if results.comparison:
        told += conclusions(results.comparison)
    for vote in results.votes:
        told += _of_vote(vote)
    if results.phantom:
        told.append(
            "The patients are computed. These figures show that the work can be repeated and how "
            "the numbers come about; they say nothing about patients, and nothing about which "
            "network is better on them."
        )
    if results.small:
        told.append(
            "Demo settings: small networks and few steps. No figure of a source can be reached "
            "so, and none is meant to be."
        )
    return told


def why_ways_differ(results: Results) -> list[str]:
    """Return why a figure counted the source's way is not the figure by scan."""
    told = [_ways("The source counts" if results.citation else "Many count", results.counted)]
    told += list(filter(None, (_lifted(entry) for entry in results.entries)))
    if told[1:]:
        told.append(
            "An empty slice that stays empty is easy, and there are many: counted as 1 it hides "
            "what a network does where there is something to find. Scan by scan an organ counts "
            "where it is there or was drawn, once a scan, however many slices it spans."
        )
    return told


def _ways(who: str, how: str) -> str:
    if how == "batches":
        return (
            f"{who} the pixels of a batch together, and the mean over batches: large organs "
            "outweigh small ones, and the figure depends on which slices share a batch. Dice is "
            "computed from the IoU of each batch. Scan by scan the organ of each scan weighs the "
            "same."
        )
    return (
        f"{who} slice by slice, on the network's own grid, and an empty slice that stays empty "
        "counts 1, as smoothing both halves of the fraction makes it. medseg counts "
        "organ by organ and scan by scan, in 3D on the scan's own grid, where the organ is there "
        "or was predicted: a scan is what a person treats, and its slices resemble each other."
    )


def _lifted(entry: EntryResult) -> str:
    """Return how much empty slices lift an entry's mean; nothing where none is empty."""
    whole = next((s for s in entry.slices if s.organ == ALL), None)
    if whole is None or not whole.n_empty:
        return ""
    share = percent(whole.n_empty / whole.n)
    return (
        f"{entry.name}: {whole.n_empty} of {counted(whole.n, 'slice')} ({share}) are empty on both "
        f"sides. Counted as 1 they make a mean Dice of {whole.dice.one:.3f}; left out, the same "
        f"slices give {whole.dice.skipped:.3f}."
    )


def _gap(entry: EntryResult) -> str:
    failed = len(entry.runs) - len(entry.done)
    reasons = dict.fromkeys(run.problem for run in entry.runs if run.problem)
    return (
        f"{entry.name}: {failed} of {counted(len(entry.runs), 'run')} failed. {' '.join(reasons)}"
    )


def _of_vote(vote: Vote) -> Iterator[str]:
    members, patients = counted(vote.members, "fold"), counted(vote.patients, "patient")
    yield (
        f"{vote.name}: the networks of {members}, their logits averaged, beside one network (the "
        f"mean of the {vote.members}), on {patients} held out of every fold:"
    )
    yield from conclusions(vote.comparison)
