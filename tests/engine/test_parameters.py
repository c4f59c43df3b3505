"""Parameter groups hold each parameter once, and give the head and the norms their own settings."""

import pytest
import torch
from torch import nn

from medseg.engine import parameter_groups
from medseg.errors import UsageError


class _Network(nn.Module):
    encoder_names = ("stem", "body.deep")

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.body = nn.ModuleDict({"deep": nn.Linear(4, 4), "deeper": nn.Linear(4, 4)})
        self.norm = nn.LayerNorm(4)
        self.position_embeddings = nn.Parameter(torch.zeros(1, 5, 4))
        self.cls_token = nn.Parameter(torch.zeros(1, 2, 4))
        self.scale = nn.Parameter(torch.ones(1, 1, 1, 4))
        self.queries = nn.Embedding(6, 4)
        self.temperature = nn.Parameter(torch.tensor(1.0))
        self.classifier = nn.Conv2d(4, 1, 1)


def names_in(network, group):
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {names[id(parameter)] for parameter in group["params"]}


def test_without_settings_all_parameters_are_one_group_in_their_order():
    network = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    (group,) = parameter_groups(network, lr=0.1)
    assert [id(p) for p in group["params"]] == [id(p) for p in network.parameters()]
    assert group.keys() == {"params"}  # the optimiser's own settings are its own


def test_the_head_is_what_is_no_encoder_and_learns_faster():
    network = _Network()
    slow, fast = parameter_groups(network, lr=0.1, head_factor=10)
    encoder = {"stem.weight", "stem.bias", "body.deep.weight", "body.deep.bias"}
    assert names_in(network, slow) == encoder
    assert names_in(network, fast) == {name for name, _ in network.named_parameters()} - encoder
    optimizer = torch.optim.SGD([slow, fast], lr=0.1)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 1.0]


def test_norms_biases_positions_and_queries_are_free_of_decay():
    network = _Network()
    groups = parameter_groups(network, lr=0.1, head_factor=2, decay_all=False)
    optimizer = torch.optim.AdamW(groups, lr=0.1, weight_decay=0.01)
    decays = {}
    for group in optimizer.param_groups:
        decays |= dict.fromkeys(names_in(network, group), (group["lr"], group["weight_decay"]))
    assert decays == {
        "stem.weight": (0.1, 0.01),
        "stem.bias": (0.1, 0),
        "body.deep.weight": (0.1, 0.01),
        "body.deep.bias": (0.1, 0),
        "body.deeper.weight": (0.2, 0.01),
        "body.deeper.bias": (0.2, 0),
        "norm.weight": (0.2, 0),
        "norm.bias": (0.2, 0),
        "position_embeddings": (0.2, 0),
        "cls_token": (0.2, 0),
        "scale": (0.2, 0),
        "queries.weight": (0.2, 0),
        "temperature": (0.2, 0),
        "classifier.weight": (0.2, 0.01),  # of one class, and no vector all the same
        "classifier.bias": (0.2, 0),
    }


def test_a_step_moves_the_head_by_its_factor():
    network = nn.Module()
    network.encoder_names = ("slow",)
    network.slow, network.fast = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.slow.weight)
    nn.init.ones_(network.fast.weight)
    optimizer = torch.optim.SGD(parameter_groups(network, lr=0.1, head_factor=3), lr=0.1)
    (network.slow.weight + network.fast.weight).sum().backward()
    optimizer.step()
    assert network.slow.weight.item() == pytest.approx(0.9)
    assert network.fast.weight.item() == pytest.approx(0.7)


@pytest.mark.parametrize("factor", [pytest.param(0, id="zero"), pytest.param(-1, id="negative")])
def test_a_factor_is_a_positive_number(factor):
    with pytest.raises(UsageError, match=r"E-CONFIG.*head_factor: is .*more than 0"):
        parameter_groups(_Network(), lr=0.1, head_factor=factor)


def test_a_network_that_tells_no_encoder_has_no_head():
    with pytest.raises(UsageError, match=r"head_factor: Linear does not tell .* its encoder"):
        parameter_groups(nn.Linear(1, 1), lr=0.1, head_factor=10)
