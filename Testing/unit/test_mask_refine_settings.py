"""Settings of a refinement: what is accepted, what is refused, and that they survive files."""

from __future__ import annotations

import json

import pytest

from HemoCAMLib.cli.mask_option import parse_mask
from HemoCAMLib.errors import ModelRefused, UsageError
from HemoCAMLib.mask import MaskSettings
from HemoCAMLib.mask.refine import REFINEMENT_NAMES, RefinementSettings
from HemoCAMLib.subtypes import SUBTYPE_NAMES

PLAIN = MaskSettings((0.5,) * 5, (0.5,) * 5)


@pytest.mark.parametrize("name", REFINEMENT_NAMES)
def test_a_name_alone_gives_its_defaults(name: str) -> None:
    assert RefinementSettings.from_value(name) == RefinementSettings(name)  # type: ignore[arg-type]


@pytest.mark.parametrize("nothing", [None, "off"])
def test_no_refinement_is_none(nothing: object) -> None:
    assert RefinementSettings.from_value(nothing) is None


def test_settings_survive_a_result_file() -> None:
    settings = RefinementSettings("random-walker", skull_mm=(2, 2, 0, 0, 0), where_empty="keep")
    mask = MaskSettings((0.5,) * 5, (0.5,) * 5, refinement=settings)
    assert MaskSettings.from_dict(json.loads(json.dumps(mask.as_dict()))) == mask


def test_a_distance_to_the_skull_is_given_for_all_subtypes_or_by_name() -> None:
    everywhere = RefinementSettings.from_value({"name": "hysteresis", "skull_mm": 1})
    some = RefinementSettings.from_value({"name": "hysteresis", "skull_mm": {"IPH": 2, "SAH": 1.5}})
    assert everywhere is not None
    assert some is not None
    assert everywhere.skull_mm == (1.0,) * 5
    assert dict(zip(SUBTYPE_NAMES, some.skull_mm, strict=True)) == {
        "IPH": 2.0, "IVH": 0.0, "SAH": 1.5, "SDH": 0.0, "EDH": 0.0,
    }  # fmt: skip


def test_what_happens_to_empty_regions_is_given_for_all_subtypes_or_by_name() -> None:
    everywhere = RefinementSettings.from_value({"name": "hysteresis", "where_empty": "keep"})
    some = RefinementSettings.from_value({"name": "hysteresis", "where_empty": {"SDH": "keep"}})
    assert everywhere == RefinementSettings(where_empty=("keep",) * 5)
    assert some == RefinementSettings(where_empty=("clear", "clear", "clear", "keep", "clear"))
    assert RefinementSettings.from_value(some.as_dict()) == some
    assert parse_mask(["refinement.where_empty.sdh=keep"]) == {"refinement": {"where_empty": {"SDH": "keep"}}}
    assert parse_mask(["refinement.skull_mm.IPH=2"]) == {"refinement": {"skull_mm": {"IPH": 2.0}}}
    for words in ("refinement.where_empty.SDX=keep", "refinement.reach_mm.SDH=3",
                  "refinement.where_empty=keep,refinement.where_empty.SDH=clear"):  # fmt: skip
        with pytest.raises(UsageError):
            parse_mask([words])


@pytest.mark.parametrize(
    "value",
    [
        "hysterisis",
        "",
        3,
        True,
        [],
        {},
        {"name": None},
        {"name": ["hysteresis"]},
        {"reach_mm": 3},
        {"name": "hysteresis", "reach": 3},
        {"name": "hysteresis", "reach_mm": -1},
        {"name": "hysteresis", "reach_mm": "8"},
        {"name": "hysteresis", "reach_mm": float("nan")},
        {"name": "hysteresis", "reach_mm": True},
        {"name": "hysteresis", "lowest_hu": 50, "seed_hu": 45},
        {"name": "hysteresis", "seed_hu": 99, "highest_hu": 90},
        {"name": "hysteresis", "where_empty": "remove"},
        {"name": "hysteresis", "where_empty": ["keep"]},
        {"name": "hysteresis", "where_empty": {"SDH": "hide"}},
        {"name": "hysteresis", "where_empty": {"SDX": "keep"}},
        {"name": "hysteresis", "skull_mm": {"IPX": 2}},
        {"name": "hysteresis", "skull_mm": [1, 2]},
        {"name": "hysteresis", "skull_mm": None},
    ],
)
def test_what_makes_no_sense_is_refused_by_a_user_and_in_a_model(value: object) -> None:
    with pytest.raises(UsageError) as refused:
        RefinementSettings.from_value(value)
    assert refused.value.code == "USAGE_MASK_SETTINGS"
    tables = {"class_thresholds": {"IPH": 0.5}, "mask_thresholds": {"absolute": {"IPH": 0.5}}}
    with pytest.raises(ModelRefused):
        MaskSettings.from_metadata({**tables, "refinement": value})


def test_parameters_change_within_a_refinement_and_another_starts_afresh() -> None:
    settings = PLAIN.changed({"refinement": {"name": "hysteresis", "reach_mm": 3, "lowest_hu": 40}})
    same = settings.changed({"refinement": {"reach_mm": 5}}).refinement
    other = settings.changed({"refinement": {"name": "hu-mixture"}}).refinement
    assert same == RefinementSettings("hysteresis", reach_mm=5, lowest_hu=40)
    assert other == RefinementSettings("hu-mixture")
    assert settings.changed({"refinement": "off"}).refinement is None
    with pytest.raises(UsageError, match="name"):
        PLAIN.changed({"refinement": {"reach_mm": 5}})


def test_the_command_line_names_a_refinement_and_its_parameters() -> None:
    assert parse_mask(["refinement=off"]) == {"refinement": "off"}
    asked = parse_mask(["refinement=hu-mixture", "refinement.reach_mm=5,refinement.where_empty=keep"])
    assert PLAIN.changed(asked).refinement == RefinementSettings("hu-mixture", reach_mm=5, where_empty="keep")
    for wrong in (["refinement=crf"], ["refinement.reach_mm=far"], ["refinement=off,refinement.reach_mm=5"]):
        with pytest.raises(UsageError):
            parse_mask(wrong)
