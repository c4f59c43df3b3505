"""The average of the weights, worked out by hand."""

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from medseg.engine import WeightAverage, averaged
from medseg.errors import UsageError


def test_three_steps_by_hand():
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = averaged(network, decay=0.9)

    def step(_engine, value):
        nn.init.constant_(network.weight, value)

    trainer = Engine(step)
    WeightAverage(network, into=average, decay=0.9).attach(trainer)
    trainer.run([1.0, 2.0, 4.0])
    # 0.1 * 1; 0.09 + 0.2; 0.261 + 0.4
    assert average.weight.item() == pytest.approx(0.661)
    assert network.weight.item() == 4.0


def test_statistics_are_averaged_and_integers_copied():
    network = nn.BatchNorm1d(2)
    network.register_buffer("table", torch.tensor([7, 11]))
    average = averaged(network, decay=0.75)
    update = WeightAverage(network, into=average, decay=0.75).update
    network(torch.tensor([[0.0, 10.0], [4.0, 30.0]]))  # means 2 and 20, of which 0.1 is taken
    update(0.75)
    assert average.running_mean.tolist() == pytest.approx([0.05, 0.5])
    assert average.num_batches_tracked == 1
    # A third of an index is no index; 7 * 0.999 + 7 * 0.001 may be 6.
    for _ in range(20):
        update(0.999)
    assert average.table.tolist() == [7, 11]


def test_the_average_never_learns_and_is_a_network_of_its_own():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))
    average = averaged(network, decay=0.99)
    assert not average.training
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert average.state_dict().keys() == network.state_dict().keys()
    nn.init.zeros_(network[0].weight)
    assert average[0].weight.any()


def test_without_a_decay_the_network_itself_is_validated_and_left_alone():
    network = nn.Linear(2, 2)
    assert averaged(network, decay=None) is network
    before = network.weight.clone()
    trainer = Engine(lambda _engine, _batch: None)
    WeightAverage(network, into=network, decay=None).attach(trainer)
    trainer.run([0, 1])
    assert torch.equal(network.weight, before)


@pytest.mark.parametrize("decay", [pytest.param(d, id=str(d)) for d in (0, 1, 1.5, -0.5)])
def test_a_decay_lies_between_zero_and_one(decay):
    with pytest.raises(UsageError, match=r"ema_decay: is .* null, or a number between 0 and 1"):
        averaged(nn.Linear(1, 1), decay=decay)
