"""What medseg does, a stage a file, read from top to bottom: prepare, train, predict, evaluate."""

__all__: list[str] = []
