"""What happens to a batch as a whole: who changes, who does not, and what does not matter."""

import numpy as np
import pytest
import torch

from medseg.errors import UsageError
from medseg.transforms import BatchAugment
from medseg.transforms.augment import apply, draw
from medseg.transforms.draws import still

GENERATOR = torch.Generator().manual_seed(0)
IMAGE = torch.rand(6, 2, 40, 36, generator=GENERATOR)
MASKS = (torch.rand(6, 4, 40, 36, generator=GENERATOR) > 0.6).byte()
SEEDS = torch.tensor([7, 2**62, 11, 0, -5, 2**63 - 1])
EVERYTHING = BatchAugment(elastic_px=8, gamma=0.4, bias=0.3, low_resolution=0.5, noise=0.1)
ALWAYS = BatchAugment(elastic_px=8, gamma=0.4, bias=0.3, low_resolution=0.5, noise=0.1, chance=1)
NOTHING = {"rotate_deg": 0, "translate": 0, "scale": 0, "brightness": 0, "contrast": 0}


def test_no_limits_change_nothing():
    image, masks = BatchAugment(**NOTHING, flip=False, chance=1)(IMAGE, MASKS, SEEDS)
    assert torch.equal(image, IMAGE)
    assert torch.equal(masks, MASKS)


def test_the_batch_given_is_left_as_it_was():
    before = IMAGE.clone(), MASKS.clone()
    for augment in (ALWAYS, BatchAugment(**NOTHING, noise=1, chance=1)):
        augment(IMAGE, MASKS, SEEDS)
        assert torch.equal(IMAGE, before[0])
        assert torch.equal(MASKS, before[1])


def test_samples_that_only_flip_are_exact_copies():
    image, masks = BatchAugment(**NOTHING)(IMAGE, MASKS, SEEDS)
    draws = draw(SEEDS, BatchAugment(**NOTHING))
    for b, flips in enumerate(zip(draws.flip_x, draws.flip_y, strict=True)):
        dims = [dim for dim, flip in zip((-1, -2), flips, strict=True) if flip]
        assert torch.equal(image[b], IMAGE[b].flip(dims))
        assert torch.equal(masks[b], MASKS[b].flip(dims))


@pytest.mark.parametrize(
    ("limit", "column", "neutral"),
    [
        pytest.param({"elastic_px": 8}, "elastic_px", 0, id="elastic"),
        pytest.param({"gamma": 0.4}, "gamma", 1, id="gamma"),
        pytest.param({"bias": 0.3}, "bias", 0, id="bias field"),
        pytest.param({"low_resolution": 0.5}, "resolution", 1, id="low resolution"),
        pytest.param({"noise": 0.1}, "noise", 0, id="noise"),
    ],
)
def test_a_rare_change_comes_to_some_and_leaves_the_others_exactly(limit, column, neutral):
    augment = BatchAugment(**NOTHING, flip=False, chance=0.5, **limit)
    affected = getattr(draw(SEEDS, augment), column) != neutral
    assert 0 < affected.sum() < len(SEEDS)
    image, masks = augment(IMAGE, MASKS, SEEDS)
    assert [not torch.equal(image[b], IMAGE[b]) for b in range(6)] == affected.tolist()
    bent = affected if column == "elastic_px" else np.zeros(6, bool)
    assert [not torch.equal(masks[b], MASKS[b]) for b in range(6)] == bent.tolist()


@pytest.mark.parametrize(
    "augment", [pytest.param(ALWAYS, id="all at all"), pytest.param(EVERYTHING, id="some")]
)
def test_a_sample_depends_on_its_own_seed_alone(augment):
    image, masks = augment(IMAGE, MASKS, SEEDS)
    again, _ = augment(IMAGE, MASKS, SEEDS.numpy())
    assert torch.equal(image, again)
    order = [2, 0, 1, 5, 3, 4]
    shuffled, shuffled_masks = augment(IMAGE[order], MASKS[order], SEEDS[order])
    assert torch.equal(shuffled, image[order])
    assert torch.equal(shuffled_masks, masks[order])
    for b in range(6):
        alone, alone_masks = augment(IMAGE[b : b + 1], MASKS[b : b + 1], SEEDS[b : b + 1])
        assert torch.equal(alone[0], image[b])
        assert torch.equal(alone_masks[0], masks[b])


def test_threads_change_nothing():
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(ALWAYS(IMAGE, MASKS, SEEDS))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_other_seeds_give_other_samples():
    a, _ = ALWAYS(IMAGE[:1], MASKS[:1], [1])
    b, _ = ALWAYS(IMAGE[:1], MASKS[:1], [2])
    assert not torch.allclose(a, b, atol=0.01)


def test_torch_and_numpy_randomness_are_left_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    ALWAYS(IMAGE, MASKS, SEEDS)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_image_and_masks_move_together():
    j, i = np.mgrid[:64, :64]
    disc = torch.from_numpy((i - 24) ** 2 + (j - 36) ** 2 < 250).byte().expand(32, 1, 64, 64)
    augment = BatchAugment(brightness=0, contrast=0, elastic_px=12, chance=1)
    image, masks = augment(disc.float(), disc, torch.arange(32))
    assert ((image > 0.5) == masks.bool()).float().mean() > 0.995
    assert not torch.equal(masks, disc)
    apart = np.abs(centroids(image) - centroids(masks.float()))
    assert apart.max() < 0.4  # of a pixel: the nearest one is up to half of it away
    assert apart.mean() < 0.06


def centroids(planes):
    weights = planes[:, 0].double().numpy()
    j, i = np.mgrid[: weights.shape[1], : weights.shape[2]]
    total = weights.sum((1, 2))
    return np.column_stack([(weights * j).sum((1, 2)), (weights * i).sum((1, 2))]) / total[:, None]


def test_an_empty_batch_stays_empty():
    image, masks = ALWAYS(IMAGE[:0], MASKS[:0], torch.arange(0))
    assert image.shape == (0, 2, 40, 36)
    assert masks.shape == (0, 4, 40, 36)


def test_masks_may_be_absent():
    image, masks = ALWAYS(IMAGE, MASKS[:, :0], SEEDS)
    assert torch.equal(image, ALWAYS(IMAGE, MASKS, SEEDS)[0])
    assert masks.shape == (6, 0, 40, 36)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_other_types_are_kept_and_change_alike(dtype):
    image, masks = ALWAYS(IMAGE.to(dtype), MASKS, SEEDS)
    assert image.dtype == dtype
    assert masks.dtype == torch.uint8
    expected, _ = ALWAYS(IMAGE.to(dtype).float(), MASKS, SEEDS)
    rough = {torch.float64: 1e-4, torch.float16: 5e-3, torch.bfloat16: 5e-2}[dtype]
    torch.testing.assert_close(image.float(), expected, atol=rough, rtol=0)


def test_changes_of_intensity_follow_one_another():
    draws = still(1)._replace(
        gamma=np.array([2.0]), contrast=np.array([1.5]), brightness=np.array([0.1])
    )
    image, _ = apply(torch.tensor([[[[0.0, 0.5, 1.0]]]]), MASKS[:1, :, :1, :3], draws)
    assert image.flatten().tolist() == pytest.approx([0.1, 1.5 * 0.25 + 0.1, 1.6])


def test_limits_out_of_range_are_told_together():
    with pytest.raises(UsageError, match=r"elastic_px.*0 to 15") as raised:
        BatchAugment(elastic_px=16, chance=1.5, noise=-0.1, rotate_deg=float("inf"))
    told = str(raised.value)
    assert "augmentation chance" in told
    assert "augmentation noise: -0.1" in told
    assert "augmentation rotate_deg: inf" in told


@pytest.mark.parametrize(
    ("masks", "seeds"),
    [
        pytest.param(MASKS[..., :-1], SEEDS, id="narrower masks"),
        pytest.param(MASKS[:5], SEEDS, id="a mask too few"),
        pytest.param(MASKS, SEEDS[:5], id="a seed too few"),
    ],
)
def test_what_does_not_belong_together_is_refused(masks, seeds):
    with pytest.raises(UsageError, match="as many of each"):
        ALWAYS(IMAGE, masks, seeds)
