"""Data sets: manifests, readers, checks, splits by patient, the phantom, the store of slices.

A *manifest* states the facts of a published data set, a *reader* turns its folder into scans, a
*split* parts their patients into groups. The names below load their module on first use: reading a
folder of slices imports neither torch nor MONAI.
"""

from typing import TYPE_CHECKING

from medseg.lazy import loader

if TYPE_CHECKING:
    from medseg.data.batches import SliceBatches
    from medseg.data.check import Findings, Summary, inspect, summarise
    from medseg.data.entry import Prepared
    from medseg.data.hashes import scan_hash, slice_hashes
    from medseg.data.manifest import Manifest, read_manifest
    from medseg.data.neighbours import neighbour_stack
    from medseg.data.readers import read_scans
    from medseg.data.slices import EpochSampler, SliceDataset, VolumeDataset
    from medseg.data.sources import item_of, items, label_set
    from medseg.data.splits import Fold, Splits, make_splits, read_splits
    from medseg.data.store import Store
    from medseg.data.studies import inference_items
    from medseg.data.uwmgi import read_scan_folder

_HOMES = {
    "EpochSampler": "slices",
    "Findings": "check",
    "Fold": "splits",
    "Manifest": "manifest",
    "Prepared": "entry",
    "SliceBatches": "batches",
    "SliceDataset": "slices",
    "Splits": "splits",
    "Store": "store",
    "Summary": "check",
    "VolumeDataset": "slices",
    "inference_items": "studies",
    "inspect": "check",
    "item_of": "sources",
    "items": "sources",
    "label_set": "sources",
    "make_splits": "splits",
    "neighbour_stack": "neighbours",
    "read_manifest": "manifest",
    "read_scan_folder": "uwmgi",
    "read_scans": "readers",
    "read_splits": "splits",
    "scan_hash": "hashes",
    "slice_hashes": "hashes",
    "summarise": "check",
}

__all__ = [
    "EpochSampler",
    "Findings",
    "Fold",
    "Manifest",
    "Prepared",
    "SliceBatches",
    "SliceDataset",
    "Splits",
    "Store",
    "Summary",
    "VolumeDataset",
    "inference_items",
    "inspect",
    "item_of",
    "items",
    "label_set",
    "make_splits",
    "neighbour_stack",
    "read_manifest",
    "read_scan_folder",
    "read_scans",
    "read_splits",
    "scan_hash",
    "slice_hashes",
    "summarise",
]

__getattr__ = loader(__name__, _HOMES)
