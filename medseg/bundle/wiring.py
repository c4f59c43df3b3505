"""How a bundle's parts are put together, the same in all bundles, and the values that differ.

The wiring is that of one shipped bundle, the `template`. A bundle's own are the *values*: top-level
entries of ``train.json`` and ``inference.json`` such as the network, the loss and the batch size.
"""

from functools import cache

from medseg.bundle.configuration import Bundle
from medseg.resources import shipped

TEMPLATE = "uwmgi_segformer"

# Of the data set, and of the network and how it is trained.
DATA_VALUES = (
    *("dataset_dir", "manifest", "channels", "label_mode", "spacing_mm", "roi_px", "intensity"),
    *("neighbours", "stride", "per_organ", "augmentation"),
)
NETWORK_VALUES = (
    *("network_def", "loss", "optimizer", "lr_scheduler", "epochs", "epoch_length", "batch_size"),
    *("val_interval", "patience", "overlap"),
)
VALUES = frozenset((*DATA_VALUES, *NETWORK_VALUES))


@cache
def template() -> Bundle:
    """Return the bundle whose wiring all others have."""
    return Bundle(shipped("bundles", TEMPLATE))
