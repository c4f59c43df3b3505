"""Rules for masks as a run's page tells them: what is used, what was tried, and what it gained."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from medseg.metrics.statistics import Interval

_WORDS = {
    "threshold": "probability above {}",
    "smooth_mm": "smoothed over {} mm",
    "bridge_mm": "gaps up to {} mm bridged",
    "fill_holes": "holes filled",
    "largest": "largest parts kept: {}",
    "min_ml": "parts from {} ml on",
    "contiguous": "one run of slices",
}


class Gain(NamedTuple):
    """Mean Dice without and with rules, and the difference with its interval by patient."""

    before: float
    after: float
    interval: Interval


class OrganRules(NamedTuple):
    """The rules of an organ.

    Attributes:
        organ: Its name.
        rules: In words; empty where none is used.
        gains: On the ``validation`` scans, that the rules were chosen on, and on the ``held out``
            ones where they were used there.
    """

    organ: str
    rules: str
    gains: dict[str, Gain]


class TriedRule(NamedTuple):
    """One rule that was tried for an organ, on top of others, and what it gained."""

    organ: str
    rule: str
    beside: str
    gain: Interval
    used: bool


def organ_rules(told: Mapping[str, Any], effect: Mapping[str, Any]) -> list[OrganRules]:
    """Return a row an organ.

    Args:
        told: The content of ``cleaning.json``.
        effect: The content of ``cleaning_effect.json``, empty where there is none.
    """
    rules = told.get("rules", {})
    rows = []
    for organ, chosen in told.get("gains", {}).items():
        gains = {"validation": _gain(chosen)}
        if organ in rules and organ in effect:
            gains["held out"] = _gain(effect[organ])
        rows.append(OrganRules(organ, in_words(rules.get(organ, {})), gains))
    return rows


def tried_rules(told: Mapping[str, Any]) -> list[TriedRule]:
    """Return a row for all that was tried, in its order."""
    return [
        TriedRule(
            row["organ"],
            in_words({row["rule"]: row["value"]}),
            in_words(row["beside"]),
            _interval(row),
            row["used"],
        )
        for row in told.get("tried", ())
    ]


def in_words(rules: Mapping[str, Any]) -> str:
    """Return rules as they are read.

    >>> in_words({"threshold": 0.4, "fill_holes": True})
    'probability above 0.4, holes filled'
    """
    return ", ".join(_WORDS.get(name, name).format(value) for name, value in rules.items())


def why_none(told: Mapping[str, Any]) -> str:
    """Return why no rules were sought, as a sentence."""
    why: str = told.get("why_not") or "no rules for masks were sought in this run"
    return f"{why[0].upper()}{why[1:]}."


def _gain(row: Mapping[str, Any]) -> Gain:
    return Gain(row["before"], row["after"], _interval(row))


def _interval(row: Mapping[str, Any]) -> Interval:
    mean, low, high = (math.nan if row[n] is None else row[n] for n in ("mean", "low", "high"))
    return Interval(mean, low, high, row["n_scans"], row["n_patients"])
