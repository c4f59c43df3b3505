"""Every network tells which of its modules are the encoder; the others are its head."""

import pytest
from small_networks import SMALL, small

from medseg import models
from medseg.engine import parameter_groups


@pytest.mark.parametrize("name", [pytest.param(name, id=name) for name in SMALL])
def test_each_parameter_is_of_the_encoder_or_of_the_head(name):
    network = small(name, 3, 2)
    told = [network.get_submodule(module) for module in network.encoder_names]
    encoder = [id(p) for module in told for p in module.parameters()]
    assert all(any(True for _ in module.parameters()) for module in told)
    slow, fast = parameter_groups(network, lr=1.0, head_factor=10)
    assert sorted(map(id, slow["params"])) == sorted(encoder)
    both = [id(parameter) for group in (slow, fast) for parameter in group["params"]]
    assert sorted(both) == sorted(map(id, network.parameters()))


def test_what_classifies_is_of_the_head():
    network = small("segformer", 3, 2)
    _, fast = parameter_groups(network, lr=1.0, head_factor=10)
    head = {id(parameter) for parameter in fast["params"]}
    assert head == {id(parameter) for parameter in network.decode_head.parameters()}


def test_every_network_class_tells_its_encoder():
    classes = [getattr(models, name) for name in models.__all__ if name[0].isupper()]
    assert [c.__name__ for c in classes if not getattr(c, "encoder_names", ())] == []
