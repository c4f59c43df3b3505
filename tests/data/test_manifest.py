"""The manifest of UW-Madison GI tells the facts, and a broken one is refused."""

import pytest

from medseg.data.manifest import read_manifest
from medseg.errors import UsageError


@pytest.fixture(scope="module")
def uwmgi():
    return read_manifest("uwmgi")


@pytest.fixture
def changed(tmp_path, repository):
    """Write the shipped manifest with one text replaced by another."""

    def write(old, new):
        text = (repository / "data_manifests/uwmgi.yaml").read_text(encoding="utf-8")
        assert old in text
        path = tmp_path / "uwmgi.yaml"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return path

    return write


def test_labels_come_in_channel_order(uwmgi):
    organs = uwmgi.labels.organs
    assert [(o.name, o.code, o.snomed) for o in organs] == [
        ("large_bowel", 1, "14742008"),
        ("small_bowel", 2, "30315005"),
        ("stomach", 3, "69695003"),
    ]
    assert len({organ.colour for organ in organs}) == 3


def test_the_stomach_wins_where_organs_overlap(uwmgi):
    assert uwmgi.labels.priority == ("stomach", "small_bowel", "large_bowel")
    assert uwmgi.labels.label_map([[1, 1, 1], [0, 1, 1], [0, 0, 1]]).tolist() == [1, 2, 3]


def test_geometry_is_left_back_feet_and_three_millimetres(uwmgi):
    assert uwmgi.axis_codes == ("L", "P", "I")
    assert uwmgi.spacing_z_mm == 3.0


def test_licence_and_citation_are_told(uwmgi):
    assert uwmgi.licence.name == "CC BY-NC-SA 4.0"
    assert "111159" in uwmgi.citation.text
    assert uwmgi.citation.doi == "10.1016/j.dib.2024.111159"


def test_two_scans_are_left_out_by_default(uwmgi):
    assert set(uwmgi.excluded) == {"case7_day0", "case81_day30"}
    assert "participants" in uwmgi.excluded["case7_day0"]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        pytest.param("organisers", 12, id="organisers"),
        pytest.param("third_place", 5, id="third place"),
        pytest.param(None, 0, id="nobody"),
    ],
)
def test_another_list_of_bad_scans_can_be_chosen(uwmgi, name, count):
    assert len(uwmgi.excluding(name).excluded) == count


def test_an_unknown_list_is_refused(uwmgi):
    with pytest.raises(UsageError, match=r"no list 'me'.*organisers"):
        uwmgi.excluding("me")


def test_an_unknown_name_tells_the_nearest():
    with pytest.raises(UsageError, match=r"uwmgy.*did you mean uwmgi\?"):
        read_manifest("uwmgy")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param("code: 1,", "code: one,", r"labels\[0\]\.code: .*integer", id="code is text"),
        pytest.param("code: 1,", "code: 2,", "two labels share a code", id="code twice"),
        pytest.param("code: 1,", "code: 0,", "greater than or equal to 1", id="code is background"),
        pytest.param(
            "name: small_bowel", "name: stomach", "two labels share a name", id="name twice"
        ),
        pytest.param("[230, 159, 0]", "[230, 159]", "at least 3", id="colour of two"),
        pytest.param("[230, 159, 0]", "[230, 159, 256]", r"colour\[2\]", id="colour too bright"),
        pytest.param('"14742008"', "14742008", r"labels\[0\]\.snomed", id="SNOMED is a number"),
        pytest.param("snomed:", "snomde:", r"snomde.*did you mean 'snomed'\?", id="misspelt key"),
        pytest.param("[L, P, I]", "[L, P, A]", r"axis_codes\[2\]", id="slices to the front"),
        pytest.param("spacing_z_mm: 3.0", "spacing_z_mm: 0", "greater than 0", id="no distance"),
        pytest.param(
            "priority: [stomach, ", "priority: [", "each label once", id="priority of two"
        ),
        pytest.param(
            "exclude: participants", "exclude: me", "a list of known_bad", id="no such list"
        ),
        pytest.param("reader: uwmgi", "reader: magic", r"layout\.reader", id="no such reader"),
        pytest.param("  by: patient", "  by: slice", r"split\.by", id="split by slice"),
    ],
)
def test_a_broken_manifest_says_where(changed, old, new, message):
    with pytest.raises(UsageError, match=rf"uwmgi\.yaml:\d+:\d+: .*{message}"):
        read_manifest(changed(old, new))
