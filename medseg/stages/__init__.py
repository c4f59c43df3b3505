"""What medseg does, a stage a file, read from top to bottom: prepare, train, tune, predict, ..."""

__all__: list[str] = []
