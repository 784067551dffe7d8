"""The search space of a sweep: plain lists and ranges, checked before anything is trained."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from course_lib.errors import UnknownNameError, UsageError
from course_lib.finetune import settings

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

RANGE_KEYS = {"low", "high", "log", "step", "points"}
MOST_POINTS = 10_000
# What would make the trials' values incomparable, or choose by luck instead of by settings.
NOT_SEARCHED = {
    "seed": "the best seed on the validation rows is luck, not a better setting",
    "validation_rows": "trials measured on different rows cannot be compared",
    "test_rows": "trials never see the test rows",
    "save_every_seconds": "it does not change what is learned",
}


def parse(space: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """Turn a plain search space into Optuna's distributions.

    Args:
        space: setting to a list of values, ``{"batch_size": [8, 16, 32]}``, or to a range,
            ``{"learning_rate": {"low": 1e-4, "high": 3e-3, "log": True}}``; a range may have
            ``step``, and ``points`` (how many values a grid takes from it). A setting whose
            default is a whole number is searched in whole numbers.

    Returns:
        Setting to distribution, in the order given.

    Raises:
        UsageError: for an empty space, an empty list, a range that is none.
        UnknownNameError: for a setting or a range key nobody knows, with close matches.
    """
    if not isinstance(space, Mapping) or not space:
        raise UsageError(
            "the search space is empty",
            got=repr(space)[:60],
            expected='something like {"learning_rate": {"low": 1e-4, "high": 3e-3, "log": true}}',
        )
    resolved = settings.resolve("classification", "cpu", {}, 0, 1)[2]
    defaults = {name: found["value"] for name, found in resolved.items()}
    found = {}
    for name, given in space.items():
        if name in NOT_SEARCHED:
            raise UsageError(f"the setting {name!r} cannot be searched: {NOT_SEARCHED[name]}")
        if name not in defaults:
            raise UnknownNameError("setting", name, set(defaults) - set(NOT_SEARCHED))
        if isinstance(given, Mapping):
            found[name] = _range(name, given, whole=isinstance(defaults[name], int))
        else:
            found[name] = _choices(name, given)
    return found


def _choices(name: str, given: Any) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution

    plain = isinstance(given, list | tuple) and len(given) > 0
    if not plain or not all(isinstance(v, str | int | float) for v in given):
        raise UsageError(
            f"the values of {name!r} are not a list of numbers or words",
            got=repr(given)[:60],
            expected="a list such as [8, 16, 32], or a range with low and high",
        )
    if len(set(given)) != len(given):
        raise UsageError(f"a value of {name!r} is listed twice", got=repr(given)[:60])
    return CategoricalDistribution(list(given))


def _range(name: str, given: Mapping[str, Any], *, whole: bool) -> BaseDistribution:
    from optuna.distributions import FloatDistribution, IntDistribution

    for key in given:
        if key not in RANGE_KEYS:
            raise UnknownNameError(f"key of the range of {name!r}:", str(key), RANGE_KEYS)
    low, high, log = given.get("low"), given.get("high"), bool(given.get("log", False))
    step = given.get("step")
    numbers = [v for v in (low, high, *([step] if step is not None else []))]
    if not all(type(v) in (int, float) and math.isfinite(v) for v in numbers):
        raise UsageError(
            f"the range of {name!r} needs numbers", got=repr(dict(given))[:80],
            expected='{"low": number, "high": number}',
        )  # fmt: skip
    assert isinstance(low, int | float) and isinstance(high, int | float)
    problem = (
        "low must be below high" if low >= high
        else "a logarithmic range needs low above 0" if log and low <= 0
        else "a range has either step or log, not both" if log and step is not None
        else "step must be above 0" if step is not None and step <= 0
        else "a setting counted in whole numbers needs whole bounds"
        if whole and any(v != int(v) for v in numbers)
        else ""
    )  # fmt: skip
    if problem:
        raise UsageError(f"the range of {name!r} is wrong: {problem}", got=repr(dict(given))[:80])
    if whole:
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    return FloatDistribution(float(low), float(high), log=log, step=step)


def grid(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List every point of a grid once: lists as they are, ranges by ``step`` or ``points``.

    Raises:
        UsageError: for a range without ``step`` or ``points``, or over 10,000 points.
    """
    axes = {name: _axis(name, space[name], one) for name, one in parse(space).items()}
    count = math.prod(len(v) for v in axes.values())
    if count > MOST_POINTS:
        raise UsageError(
            "the grid is too large", got=f"{count:,} points", expected=f"at most {MOST_POINTS:,}",
            next_step="give fewer values, or search with method='random' or 'tpe'",
        )  # fmt: skip
    return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]


def _axis(name: str, given: Any, distribution: BaseDistribution) -> list[Any]:
    if not isinstance(given, Mapping):
        return list(given)
    low, high, points = float(given["low"]), float(given["high"]), given.get("points")
    whole = type(distribution).__name__ == "IntDistribution"
    if points is None and given.get("step"):
        step = float(given["step"])
        count = int((high - low) / step + 1e-9) + 1
        values = [low + i * step for i in range(count)]
    elif isinstance(points, int) and not isinstance(points, bool) and points >= 2:
        shares = [i / (points - 1) for i in range(points)]
        if given.get("log"):
            values = [low * (high / low) ** s for s in shares[:-1]] + [high]
        else:
            values = [low + (high - low) * s for s in shares[:-1]] + [high]
    else:
        raise UsageError(
            f"a grid needs to know how many values to take from the range of {name!r}",
            got=repr(dict(given))[:80],
            expected='"points": a whole number of at least 2, "step", or a list of values',
        )
    return list(dict.fromkeys(round(v) for v in values)) if whole else values


def middle(space: Mapping[str, Any]) -> dict[str, Any]:
    """Give one point in the middle of the space, for a forecast (of a list, its middle value)."""
    return {
        name: space[name][(len(space[name]) - 1) // 2]
        if not isinstance(space[name], Mapping)
        else _between(space[name], type(one).__name__ == "IntDistribution")
        for name, one in parse(space).items()
    }


def corners(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give single settings that together show every listed value and both ends of each range."""
    return [
        {name: value}
        for name, given in space.items()
        for value in ((given["low"], given["high"]) if isinstance(given, Mapping) else given)
    ]


def _between(given: Mapping[str, Any], whole: bool) -> float:
    low, high = float(given["low"]), float(given["high"])
    found = math.sqrt(low * high) if given.get("log") else (low + high) / 2
    return round(found) if whole else found
