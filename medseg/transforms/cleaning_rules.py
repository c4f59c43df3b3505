"""What may be asked of the cleaning of masks: rules by organ, a plain table, checked as a whole."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from medseg.errors import Problem, UsageError

# By organ the values of its rules by name.
Rules = Mapping[str, Mapping[str, Any]]


class Rule(NamedTuple):
    """What the value of a rule has to be.

    Attributes:
        expected: In words.
        fits: Whether a value is such a one.
    """

    expected: str
    fits: Callable[[Any], bool]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_SIZE = Rule("a number above 0", lambda value: _is_number(value) and value > 0)
_SWITCH = Rule("true or false", lambda value: isinstance(value, bool))

# In the order in which they are applied.
RULES = {
    "threshold": Rule(
        "a number between 0 and 1", lambda value: _is_number(value) and 0 < value < 1
    ),
    "smooth_mm": _SIZE,
    "bridge_mm": _SIZE,
    "fill_holes": _SWITCH,
    "largest": Rule(
        "a whole number from 1 on",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 1,
    ),
    "min_ml": _SIZE,
    "contiguous": _SWITCH,
}


def checked(organs: Sequence[str], rules: Rules) -> dict[str, dict[str, Any]]:
    """Return the rules that say something, by organ; null and false say nothing.

    Raises:
        UsageError: An organ or a rule is not there, or a value has no meaning; all are told.
    """
    if problems := [*_wrong(organs, rules)]:
        raise UsageError(*problems)
    said = {
        organ: {name: own[name] for name in RULES if own.get(name) not in (None, False)}
        for organ, own in rules.items()
    }
    return {organ: own for organ, own in said.items() if own}


def _wrong(organs: Sequence[str], rules: object) -> Iterator[Problem]:
    if not isinstance(rules, Mapping):
        yield Problem("E-CONFIG", "cleaning", f"is {rules!r}", "rules by organ")
        return
    for organ, own in rules.items():
        where = f"cleaning::{organ}"
        if organ not in organs:
            yield Problem("E-CONFIG", where, "is no organ", ", ".join(organs), _near(organ, organs))
        elif not isinstance(own, Mapping):
            yield Problem("E-CONFIG", where, f"is {own!r}", "values by rule")
        else:
            for name, value in own.items():
                yield from _misfit(f"{where}::{name}", name, value)


def _misfit(where: str, name: str, value: object) -> Iterator[Problem]:
    if name not in RULES:
        yield Problem("E-CONFIG", where, "is no rule", ", ".join(RULES), _near(name, RULES))
    elif value is not None and not RULES[name].fits(value):
        yield Problem("E-CONFIG", where, f"is {value!r}", RULES[name].expected)


def _near(name: object, known: Sequence[str] | Mapping[str, Any]) -> str:
    near = get_close_matches(str(name), [*known], n=1)
    return f"did you mean {near[0]}?" if near else ""
