"""What is shipped is found by name, beside the code or inside the wheel."""

import pytest

from medseg import resources
from medseg.errors import UsageError


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A source tree with two bundles and two pipelines, in which the package lies."""
    for bundle in ("uwmgi_segformer", "lgg_unet", ".cache", "__pycache__"):
        (tmp_path / "bundles" / bundle).mkdir(parents=True)
    (tmp_path / "bundles" / "README.md").touch()
    (tmp_path / "pipelines").mkdir()
    for pipeline in ("ablation.yaml", "baseline.yaml", "README.md"):
        (tmp_path / "pipelines" / pipeline).touch()
    (tmp_path / "medseg").mkdir()
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "medseg")
    return tmp_path


def test_names_are_sorted_and_leave_out_what_is_no_such_thing(tree):
    assert resources.names("bundles") == ["lgg_unet", "uwmgi_segformer"]
    assert resources.names("pipelines") == ["ablation", "baseline"]


def test_a_kind_that_is_not_there_has_no_names(tree):
    assert resources.names("data_manifests") == []


def test_shipped_finds_folders_and_files(tree):
    assert resources.shipped("bundles", "lgg_unet") == tree / "bundles" / "lgg_unet"
    assert resources.shipped("pipelines", "baseline") == tree / "pipelines" / "baseline.yaml"


def test_a_wheel_carries_them_inside_the_package(tree):
    share = tree / "medseg" / "share" / "bundles" / "lgg_unet"
    share.mkdir(parents=True)
    assert resources.shipped("bundles", "lgg_unet") == share
    assert resources.names("bundles") == ["lgg_unet"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        pytest.param("uwmgi_segfromer", "did you mean uwmgi_segformer", id="misspelt"),
        pytest.param("bundles/lgg_unet", "did you mean lgg_unet", id="a path that is not there"),
        pytest.param("zzz", "expected lgg_unet, uwmgi_segformer", id="nothing like it"),
        pytest.param("../bundles/lgg_unet", "neither a path nor shipped", id="a way out"),
    ],
)
def test_an_unknown_name_is_a_usage_error(tree, name, told):
    with pytest.raises(UsageError, match=told):
        resources.shipped("bundles", name)


def test_a_path_of_the_users_own_wins(tree, tmp_path, monkeypatch):
    own = tmp_path / "elsewhere"
    (own / "lgg_unet").mkdir(parents=True)
    assert resources.located("bundles", "lgg_unet") == tree / "bundles" / "lgg_unet"
    monkeypatch.chdir(own)
    assert resources.located("bundles", "lgg_unet").resolve() == own / "lgg_unet"


def test_the_projects_own_bundles_and_manifests_are_found():
    assert "uwmgi_segformer" in resources.names("bundles")
    assert resources.shipped("data_manifests", "uwmgi").suffix == ".yaml"
