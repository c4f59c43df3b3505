"""Training with Hugging Face's Trainer as it comes, on the samples and weights of the others."""

import tempfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from medseg.bench.measure import Timed
from medseg.bench.peers import serve
from medseg.bench.stock import Clock, cached, initial_network
from medseg.losses import dice_ce


class Named(Dataset):
    """Samples under the names that transformers' networks use."""

    def __init__(self, samples: Any) -> None:  # noqa: ANN401 - MONAI's data set
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        item = self.samples[number]
        return {
            "pixel_values": item["image"].as_tensor(),
            "labels": item["label"].as_tensor(),
        }


class Timing(TrainerCallback):
    """Time the steps of the first epoch."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_epoch_begin(self, args: Any, state: Any, *_: object, **__: object) -> None:  # noqa: ANN401, ARG002
        """Begin with the first epoch."""
        if state.global_step == 0:
            self.clock.start()

    def on_step_end(self, args: Any, state: Any, *_: object, **__: object) -> None:  # noqa: ANN401
        """End with the last step."""
        if state.global_step == state.max_steps:
            self.clock.stop(args.device)


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
    """Train for some steps and time them; the arguments are those of `medseg.bench.stock.train`."""
    loss = dice_ce()

    def judged(outputs: Any, labels: Tensor, **_: object) -> Tensor:  # noqa: ANN401
        logits = functional.interpolate(
            outputs.logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False
        )
        return loss(logits, labels)

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=initial_network(weights).model,
            args=TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=batch_size,
                max_steps=steps,
                learning_rate=lr,
                lr_scheduler_type="constant",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                remove_unused_columns=False,
                use_cpu=torch.device(device).type == "cpu",
            ),
            train_dataset=Named(cached(samples, tuple(limits.items()))),
            compute_loss_func=judged,
            callbacks=[Timing(clock)],
        )
        mean = trainer.train().training_loss
    return clock.timed(samples=steps * batch_size, loss=mean)


serve(train)
