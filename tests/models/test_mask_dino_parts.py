"""The parts of Mask DINO, by numbers worked out by hand and by transformers' own."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from transformers.models.mask2former import modeling_mask2former as parts

from medseg.models.mask_dino_decoder import RefiningDecoder, moved, unsquashed, waves
from medseg.models.mask_dino_denoising import (
    hidden_groups,
    noised,
    noised_boxes,
    noised_classes,
)
from medseg.models.mask_dino_pixels import Maps, PixelDecoder, deformable_attention
from medseg.models.mask_dino_selection import SelectedQueries, proposed_boxes


def logit(share):
    return math.log(share / (1 - share))


def sigmoid(number):
    return 1 / (1 + math.exp(-number))


def maps_of(*sizes, width=32):
    tokens = torch.randn(2, sum(h * w for h, w in sizes), width)
    return Maps(tokens, list(sizes), torch.randn(2, width, 16, 16))


def decoder_of(*, layers=2, levels=1, classes=3):
    return RefiningDecoder(width=32, levels=levels, layers=layers, ffn=16, classes=classes)


# Pixels


def pixel_decoder(levels):
    network = PixelDecoder((8, 16, 24, 32), width=32, levels=levels, layers=2, ffn=16)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network


def test_maps_are_those_of_transformers():
    torch.manual_seed(0)
    network = pixel_decoder(3)
    stages = [torch.randn(2, c, 48 // s, 64 // s) for c, s in ((8, 1), (16, 2), (24, 4), (32, 8))]
    theirs = parts.Mask2FormerPixelDecoderEncoderOnly(network.decoder.config)
    theirs.layers = network.decoder.encoder.layers
    with torch.no_grad():
        found = network(stages)
        network.decoder.encoder = theirs
        expected = network(stages)
    assert found.sizes == [(24, 32), (12, 16), (6, 8)]
    assert torch.allclose(found.tokens, expected.tokens, atol=1e-5)
    assert torch.allclose(found.pixels, expected.pixels, atol=1e-5)


def test_a_fourth_level_is_half_of_the_last_and_all_tokens_stand_finest_first():
    torch.manual_seed(1)
    network = pixel_decoder(4)
    stages = [torch.randn(1, c, 40 // s, 24 // s) for c, s in ((8, 1), (16, 2), (24, 4), (32, 8))]
    maps = network(stages)
    assert maps.sizes == [(20, 12), (10, 6), (5, 3), (3, 2)]
    assert maps.tokens.shape[1] == 240 + 60 + 15 + 6
    assert maps.pixels.shape == (1, 32, 40, 24)


def test_heads_first_look_around_in_eighths_of_a_turn():
    attention = deformable_attention(32, 2)
    offsets = attention.sampling_offsets.bias.reshape(8, 2, 4, 2)
    assert offsets[0].tolist() == [[[1, 0], [2, 0], [3, 0], [4, 0]]] * 2
    expected = torch.tensor([[1.0, 1], [2, 2], [3, 3], [4, 4]])
    assert torch.allclose(offsets[1, 0], expected, atol=1e-6)
    assert torch.allclose(offsets[6, 1, 3], torch.tensor([0.0, -4]), atol=1e-5)


# Boxes


@pytest.mark.parametrize(
    ("share", "number"),
    [
        pytest.param(0.5, 0.0, id="middle"),
        pytest.param(0.2, -math.log(4), id="a fifth"),
        pytest.param(1.0, math.log(1e5), id="whole"),
        pytest.param(0.0, -math.log(1e5), id="none"),
        pytest.param(1.3, math.log(1e5), id="beyond"),
    ],
)
def test_what_the_sigmoid_makes_shares_of(share, number):
    assert unsquashed(torch.tensor([share])).item() == pytest.approx(number, abs=1e-4)


def test_boxes_move_before_the_sigmoid():
    found = moved(torch.tensor([0.2, 0.5, 0.9, 0.5]), torch.tensor([math.log(4), 1.0, 0.0, -2.0]))
    assert found.tolist() == pytest.approx([0.5, sigmoid(1), 0.9, sigmoid(-2)], abs=1e-6)


def test_waves_by_hand():
    box = torch.tensor([0.25, 0.5, 0.125, 1.0])
    # Two wavelengths a coordinate, 1 and 100, each as sine and cosine: y, x, width, height.
    turns = [0.5, 0.25, 0.125, 1.0]
    expected = [
        wave(2 * math.pi * turn / length)
        for turn in turns
        for length in (1, 100)
        for wave in (math.sin, math.cos)
    ]
    assert waves(box, 4).tolist() == pytest.approx(expected, abs=1e-5)


def test_every_layer_moves_the_boxes_by_what_the_head_says():
    torch.manual_seed(2)
    decoder, maps = decoder_of(layers=3), maps_of((4, 4))
    change = torch.tensor([0.4, -0.3, 0.2, 1.0])
    with torch.no_grad():
        decoder.boxes[-1].bias.copy_(change)
        _, boxes = decoder(torch.randn(2, 5, 32), torch.full((2, 5, 4), logit(0.3)), maps)
    for layer, box in enumerate(boxes):
        expected = [sigmoid(logit(0.3) + layer * each) for each in change.tolist()]
        assert box[1, 4].tolist() == pytest.approx(expected, abs=1e-5)


class Given(nn.Module):
    """A layer that gives queries of its own, whatever comes."""

    def __init__(self):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(2, 5, 32))

    def forward(self, *_args, **_words):
        return self.queries


def test_a_layer_learns_from_the_box_of_the_next_and_no_later():
    torch.manual_seed(3)
    decoder, maps = decoder_of(layers=3), maps_of((4, 4))
    decoder.layers = nn.ModuleList(Given() for _ in range(3))
    nn.init.normal_(decoder.boxes[-1].weight)
    places = torch.randn(2, 5, 4, requires_grad=True)
    _, boxes = decoder(torch.randn(2, 5, 32), places, maps)
    learns = []
    for box in boxes:
        learnt = [*(layer.queries for layer in decoder.layers), places]
        gradients = torch.autograd.grad(box.sum(), learnt, retain_graph=True, allow_unused=True)
        learns.append([bool(g is not None and g.any()) for g in gradients])
    # From the box before the first layer, and of each: layers 1, 2, 3, and the first places.
    assert learns == [
        [False, False, False, True],
        [True, False, False, True],
        [True, True, False, True],
        [False, True, True, False],
    ]


def test_masks_are_products_of_queries_and_pixels():
    decoder = decoder_of()
    state, pixels = torch.randn(1, 2, 32), torch.randn(1, 32, 3, 4)
    with torch.no_grad():
        said = decoder.say(state, None, pixels)
        product = (decoder.masks(state)[0, 1] * pixels[0, :, 2, 3]).sum()
    assert said.mask_logits[0, 1, 2, 3].item() == pytest.approx(product.item(), abs=1e-5)
    assert torch.equal(said.class_logits, decoder.classes(state))


# Selection


def test_tokens_stand_for_boxes_that_double_with_the_level():
    boxes = proposed_boxes(maps_of((2, 4), (1, 2)))
    assert boxes[0].tolist() == pytest.approx([0.125, 0.25, 0.05, 0.05])
    assert boxes[5].tolist() == pytest.approx([0.375, 0.75, 0.05, 0.05])
    assert boxes[9].tolist() == pytest.approx([0.75, 0.5, 0.1, 0.1])
    assert boxes.shape == (10, 4)


def test_the_tokens_that_are_surest_of_a_class_are_chosen():
    torch.manual_seed(4)
    decoder, maps = decoder_of(), maps_of((4, 6), (2, 3))
    chooser = SelectedQueries(queries=7, width=32)
    with torch.no_grad():
        start = chooser(maps, decoder)
        every = chooser.norm(chooser.project(maps.tokens))
        surest = decoder.classes(every).amax(-1)
    for image in range(2):
        order = sorted(range(30), key=lambda token: -surest[image, token])[:7]
        assert torch.allclose(start.queries[image], every[image, order], atol=1e-6)
        # The box head moves nothing yet.
        expected = proposed_boxes(maps)[order]
        assert torch.allclose(start.places[image].sigmoid(), expected, atol=1e-5)


def test_all_tokens_are_chosen_where_there_are_fewer():
    start = SelectedQueries(queries=100, width=32)(maps_of((2, 3)), decoder_of())
    assert start.queries.shape == (2, 6, 32)


def test_tokens_at_the_edge_are_not_chosen():
    decoder, maps = decoder_of(), maps_of((1, 64))  # the outermost centres are at 1/128
    nn.init.zeros_(decoder.classes.weight)
    start = SelectedQueries(queries=62, width=32)(maps, decoder)
    across = start.places.sigmoid()[..., 0]
    assert across.min().item() == pytest.approx(1.5 / 64, abs=1e-5)
    assert across.max().item() == pytest.approx(62.5 / 64, abs=1e-5)


def test_the_decoder_does_not_teach_the_choice():
    decoder, maps = decoder_of(), maps_of((4, 4))
    start = SelectedQueries(queries=5, width=32)(maps, decoder)
    assert not start.queries.requires_grad
    assert not start.places.requires_grad
    assert all(each.requires_grad for each in start.selected)


# Denoising


@given(
    st.lists(st.floats(0.1, 0.9), min_size=4, max_size=4),
    st.integers(0, 2**31),
    st.sampled_from([0.1, 0.4]),
)
def test_noise_keeps_centres_inside_and_sides_near(box, seed, noise):
    torch.manual_seed(seed)
    width, height = box[2:]
    found = noised_boxes(torch.tensor([box] * 50), noise=noise)
    assert ((found >= 0) & (found <= 1)).all()
    reach = torch.tensor([width / 2, height / 2, width, height]) * noise
    assert ((found - torch.tensor(box)).abs() <= reach + 1e-6).all()
    # And goes to both sides, nearly as far as it may.
    spread = (found - torch.tensor(box))[:, :2] / reach[:2]
    assert spread.min() < -0.5
    assert spread.max() > 0.5


def test_a_fifth_of_the_classes_is_drawn_anew():
    torch.manual_seed(5)
    classes = torch.arange(4).repeat(5000)
    found = noised_classes(classes, 4)
    assert set(found.tolist()) == {0, 1, 2, 3}
    # Of those drawn anew, a quarter is as before.
    assert (found != classes).float().mean().item() == pytest.approx(0.2 * 3 / 4, abs=0.01)
    assert torch.equal(noised_classes(classes, 4, noise=0.0), classes)


def two_images():
    """Two images of 8 x 8 px: the first shows the second organ of two, the second both."""
    masks = torch.zeros(2, 2, 8, 8, dtype=torch.uint8)
    masks[0, 1, 2:4, 0:4] = 1
    masks[1, 0, 4:8, 4:8] = 1
    masks[1, 1, 0, 0] = 1
    return masks


def test_groups_stand_for_the_segments_that_are_there():
    torch.manual_seed(6)
    embedding = nn.Embedding(2, 32)
    found = noised(two_images(), embedding, count=7, overlapping=True)
    assert found.groups == 3
    assert found.classes.tolist() == [[1, -1] * 3, [0, 1] * 3]
    assert not found.queries[0, 1::2].any()
    assert not found.places[0, 1::2].any()
    # Centre (2, 3) of 8 px, and 4 x 2 px.
    reach = 0.4 * torch.tensor([2, 1, 4, 2]) / 8
    boxes = found.places[0, ::2].sigmoid()
    assert ((boxes - torch.tensor([2, 3, 4, 2]) / 8).abs() <= reach + 1e-5).all()
    # Each group has noise of its own.
    assert not torch.equal(boxes[0], boxes[1])
    given = [embedding.weight.eq(query).all(1).nonzero().item() for query in found.queries[1]]
    assert set(given) <= {0, 1}


def test_background_is_a_segment_where_classes_exclude_each_other():
    found = noised(two_images(), nn.Embedding(3, 32), count=7, overlapping=False)
    assert found.groups == 2
    assert found.classes.tolist() == [[0, 2, -1] * 2, [0, 1, 2] * 2]


@pytest.mark.parametrize(
    ("masks", "count"),
    [
        pytest.param(torch.zeros(2, 2, 8, 8), 100, id="nothing there"),
        pytest.param(two_images(), 1, id="no room for a group"),
        pytest.param(two_images(), 0, id="switched off"),
    ],
)
def test_nothing_to_denoise(masks, count):
    assert noised(masks, nn.Embedding(2, 32), count=count, overlapping=True) is None


def test_what_is_hidden_from_whom():
    hidden = hidden_groups(2, 2, 1, torch.device("cpu"))
    assert hidden.int().tolist() == [
        [0, 0, 1, 1, 0],
        [0, 0, 1, 1, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0],
    ]


@pytest.mark.parametrize(
    ("changed", "moves"),
    [
        pytest.param(slice(0, 3), [True, False, False], id="first group"),
        pytest.param(slice(3, 6), [False, True, False], id="second group"),
        pytest.param(slice(6, 10), [True, True, True], id="finding queries"),
    ],
)
def test_a_change_of_queries_reaches_only_those_that_see_them(changed, moves):
    torch.manual_seed(7)
    decoder, maps = decoder_of().eval(), maps_of((4, 4))
    nn.init.normal_(decoder.boxes[-1].weight)
    hidden = hidden_groups(2, 3, 4, torch.device("cpu"))
    queries, places = torch.randn(2, 10, 32), torch.randn(2, 10, 4)
    others, elsewhere = queries.clone(), places.clone()
    others[:, changed] += 1
    elsewhere[:, changed] += 1
    with torch.no_grad():
        before = decoder(queries, places, maps, hidden=hidden)
        after = decoder(others, elsewhere, maps, hidden=hidden)
    found = []
    for group in (slice(0, 3), slice(3, 6), slice(6, 10)):
        pairs = zip((*before[0], *before[1]), (*after[0], *after[1]), strict=True)
        found.append(any(not torch.equal(a[:, group], b[:, group]) for a, b in pairs))
    assert found == moves
