"""The phantoms of all data sets that bundles are of."""

from functools import cache

import pytest

from medseg.data.phantom import write_phantom


@pytest.fixture(scope="session")
def phantom(tiny_phantom, tmp_path_factory):
    """A function that gives a small phantom of a bundle's data set."""

    @cache
    def made(like):
        if like == "uwmgi":
            return tiny_phantom
        return write_phantom(tmp_path_factory.mktemp("phantom") / like, like=like, tiny=True)

    return lambda name: made(name.partition("_")[0])
