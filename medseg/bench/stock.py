"""Training as MONAI's own bundles do it: the other side of `medseg.bench.training`.

It runs as a process of its own, so that it profits from nothing that medseg sets up in its. What
it shares with the other stock loop, Hugging Face's, is here too: the network with the same initial
weights, the samples in memory, and the random transforms that medseg's bundle asks for.
"""

import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from math import radians
from typing import Any

import torch
from torch import nn

from medseg.bench.measure import Timed
from medseg.bench.networks import reference
from medseg.bench.peers import serve

KEYS = ("image", "label")


class Clock:
    """Time from the beginning of an epoch to the end of its last step, by clock and processor."""

    def start(self) -> None:
        """Begin; what was done before does not count."""
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self, device: torch.device) -> None:
        """End, as soon as the device has done what it was asked to."""
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self.wall_s = time.perf_counter() - self._wall
        self.cpu_s = time.process_time() - self._cpu

    def timed(self, *, samples: int, loss: float) -> Timed:
        """Return the time with what was done in it."""
        return Timed({"samples": samples, "loss": loss}, self.wall_s, self.cpu_s)


def train(  # noqa: PLR0913 - a message of another process
    *,
    samples: str,
    weights: str,
    limits: Mapping[str, float],
    steps: int,
    batch_size: int,
    lr: float,
    device: str = "cpu",
) -> Timed:
    """Train for some steps with MONAI's trainer, and time them.

    Args:
        samples: File of a list of ``image`` ``(C, H, W)`` and ``label`` ``(K, H, W)``.
        weights: File of a SegFormer-b0's initial parameters.
        limits: Fields of a `medseg.transforms.BatchAugment`.
        steps: How many.
        batch_size: Samples of a step.
        lr: Learning rate of Adam.
        device: Where to compute.
    """
    from ignite.engine import Events
    from monai.data import DataLoader
    from monai.engines import SupervisedTrainer
    from monai.handlers import StatsHandler, from_engine
    from monai.utils import set_determinism

    from medseg.losses import dice_ce

    set_determinism(seed=0)
    to = torch.device(device)
    losses: list[float] = []
    network = initial_network(weights).to(to)
    take_loss = from_engine(["loss"], first=True)
    trainer = SupervisedTrainer(
        device=to,
        max_epochs=1,
        epoch_length=steps,
        train_data_loader=DataLoader(
            cached(samples, tuple(limits.items())), batch_size=batch_size, shuffle=True
        ),
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=lr),
        loss_function=dice_ce(),
        train_handlers=[StatsHandler(tag_name="train_loss", output_transform=take_loss)],
    )
    clock = Clock()
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda _: clock.start())
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(take_loss(engine.state.output))
    )
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=steps), lambda _: clock.stop(to))
    trainer.run()
    return clock.timed(samples=steps * batch_size, loss=sum(map(float, losses)) / steps)


def initial_network(weights: str) -> nn.Module:
    """Return transformers' SegFormer-b0 with the parameters in a file."""
    from medseg.models import segformer_b0

    state = torch.load(weights, weights_only=True)
    classes = len(state["decode_head.classifier.bias"])
    channels = state["segformer.stages.0.patch_embeddings.proj.weight"].shape[1]
    own = segformer_b0(in_channels=channels, out_channels=classes)
    own.load_state_dict(state)
    return reference(own).train()


@lru_cache(maxsize=1)
def cached(samples: str, limits: tuple[tuple[str, float], ...]) -> Any:  # noqa: ANN401
    """Return MONAI's data set of samples in memory, changed by chance each time one is taken."""
    from monai.data import CacheDataset

    items = torch.load(samples, weights_only=True)
    side_px = items[0]["image"].shape[-1]
    return CacheDataset(items, _chain(dict(limits), side_px), num_workers=1, progress=False)


def _chain(limits: Mapping[str, float], side_px: int) -> Callable[[Any], Any]:
    """Return MONAI's random transforms for what medseg's bundles ask for."""
    from monai import transforms as mt

    return mt.Compose(  # type: ignore[no-any-return]
        [
            mt.EnsureTyped(KEYS),
            mt.RandFlipd(KEYS, prob=0.5 * limits["flip"], spatial_axis=0),
            mt.RandFlipd(KEYS, prob=0.5 * limits["flip"], spatial_axis=1),
            mt.RandAffined(
                KEYS,
                prob=1.0,
                rotate_range=radians(limits["rotate_deg"]),
                translate_range=(side_px * limits["translate"],) * 2,
                scale_range=(limits["scale"],) * 2,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            mt.RandScaleIntensityd("image", prob=1.0, factors=limits["contrast"]),
            mt.RandShiftIntensityd("image", prob=1.0, offsets=limits["brightness"]),
        ]
    )


if __name__ == "__main__":
    serve(train)
