"""What the checkpoints of a run are called; to know that takes no torch."""

LAST, BEST = "last.pt", "best.pt"
