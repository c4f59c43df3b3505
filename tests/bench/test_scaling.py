"""Costs by number of scans are measured on the real stages."""

from mmap import mmap

from medseg.bench.scaling import Size, costs, resident_bytes


def test_each_phase_is_done_and_measured(tmp_path):
    size = Size(slices=3, side_px=48, window_px=32, batch=2)
    found = costs(2, tmp_path, size=size)
    assert list(found) == ["prepare", "train", "predict"]
    assert all(cost.cpu_s > 0 and cost.peak_bytes < 4 << 30 for cost in found.values())
    work = tmp_path / "work"
    assert len(list(work.glob("store/*/image.npy"))) == 2
    assert sorted(file.name for file in work.glob("predictions/case?_day0.nii.gz")) == [
        "case0_day0.nii.gz",
        "case1_day0.nii.gz",
    ]


def test_memory_in_use_is_seen():
    before = resident_bytes()
    # New from the system: an array may get memory that the process has kept.
    with mmap(-1, 64 << 20) as held:
        held.write(b"x" * len(held))
        assert resident_bytes() - before > 0.9 * len(held)
