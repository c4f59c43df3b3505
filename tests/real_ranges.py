"""What was measured on real scans of UW-Madison GI, for tests of whatever imitates them."""

# Ranges over 13 whole scans of 5 real patients (UW-Madison GI, 144 slices each): the 12 scans whose
# original rows lie in uwmgi_labels, and case6_day20 of uwmgi_scan. Slice numbers and areas are per
# scan, the shares too. `test_the_real_scans_give_these_ranges` measures them anew.
REAL = {
    "large_bowel": {"first": (26, 72), "last": (93, 125), "slices": (42, 88)},
    "small_bowel": {"first": (31, 77), "last": (93, 125), "slices": (33, 71)},
    "stomach": {"first": (27, 55), "last": (47, 92), "slices": (21, 48)},
}
REAL_MEAN_MM2 = {
    "large_bowel": (2075, 6800),
    "small_bowel": (1412, 7622),
    "stomach": (1600, 9112),
}
REAL_EXTREME_MM2 = {
    "large_bowel": (52, 12069),
    "small_bowel": (126, 13118),
    "stomach": (144, 13622),
}
REAL_OVERLAP_SHARE = (0.037, 0.682)
REAL_EMPTY_SHARE = (0.388, 0.625)
# Over 22 real scans together; the largest overlap in a slice was 659 px.
REAL_POOLED_OVERLAP_SHARE = 0.28
