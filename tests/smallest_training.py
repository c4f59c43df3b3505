"""``medseg run`` on a network of forty numbers, which takes a second or two."""

import json

from medseg.cli import main

# The smallest of all networks: a checkpoint is a few pages.
NETWORK = {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 4}
SETTINGS = {
    **{"roi_px": "[32, 32]", "spacing_mm": "[9.0, 9.0, 9.0]", "epoch_length": "2"},
    **{"batch_size": "2", "val_interval": "1"},
    "network_def": json.dumps({**NETWORK, "kernel_size": 3, "padding": 1}),
}


def trained(data, output, *more, epochs, uri=None):
    words = [word for pair in SETTINGS.items() for word in ("--set", "=".join(pair))]
    words += ["--set", f"epochs={epochs}", "--data", str(data), "--output", str(output)]
    words += ["--tracking-uri", uri] if uri else []
    stages = ("--stage", "prepare", "--stage", "train")
    return main(["run", "uwmgi_unext", "--demo", "--device", "cpu", *stages, *words, *more])


def run_in(output):
    (folder,) = (file.parent for file in output.glob("*/*/config.json"))
    return folder
