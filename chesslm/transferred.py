"""What a study found: figures by arm and game count, and effective data transferred (Hernandez et al. 2021).

    cells (arm, games, seed, bits a move, ...) -> rows: mean over seeds, difference from scratch, D_E and D_T

D_E, the effective data of an arm at D_F games, is the number of games from which scratch would have reached the same
loss, and D_T = D_E - D_F what the other weights were worth. Scratch's curve is piecewise linear in log loss over log
games, through its means; beyond its smallest and largest count nothing is said but that.

Intervals are over seeds alone: all cells are measured on the same games, and the weights that an arm starts from are
one run themselves. Few seeds say little of their own spread, so it is pooled at each game count, over the arms that
differ in their initial weights alone, and means vary with Student's t of the pooled degrees of freedom. Permuted
weights, of which each seed draws others, and arms that differ in something else have a spread of their own. Seeds are
paired, since those of all arms draw the same games in the same order: differences are taken seed by seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from chesslm.seeds import Floats, Spread, pooled
from chesslm.study import SCRATCH
from chesslm.tables import markdown_table

LOSS = "bits_per_move"
LEGALITY = "legality_bits"
FIGURES = (LOSS, LEGALITY, "choice_bits", "legal_argmax", "legal_mass")
DRAWS = 2000

Cells = Sequence[Mapping[str, Any]]


def summarize(cells: Cells, seed: int = 1) -> list[dict[str, Any]]:
    """A row for every arm and game count.

    Args:
        cells: as in ``study.json``.
        seed: of the draws behind the intervals of effective data.

    Returns:
        Rows with ``arm``, ``games``, ``seeds``, ``differs``, ``rate``; ``cut_short``: the runs that ended with their
        budget, before their patience did; each figure's mean over seeds with low, high and n (of
        seeds) on human games, and with ``-random`` on random ones; ``less``: bits a move less those of each other arm,
        with ``detectable``, the smallest difference that would have been seen; ``less_legality``: the same of the part
        of them that pays for legality; ``effective_games`` and ``transferred``, whose ends are None where they lie
        ``beyond`` scratch's largest count, or ``below`` its smallest.
    """
    draw = np.random.default_rng(seed)
    counts = {games: _Count(_by_arm(cells, games)) for games in dict.fromkeys(cell["games"] for cell in cells)}
    rows: list[dict[str, Any]] = []
    for arm, games in dict.fromkeys((cell["arm"], cell["games"]) for cell in cells):
        count = counts[games]
        mine = count.arms[arm]
        row: dict[str, Any] = {"arm": arm, "games": games, "seeds": len(mine), "differs": mine[0]["differs"]}
        row |= {"rate": mine[0]["rate"], "cut_short": sum(map(_is_cut_short, mine))}
        for suite, ending in (("legality", ""), ("legality-random", "-random")):
            for figure in FIGURES:
                half = count.spread(arm, suite, figure).half(len(mine))
                row[f"{figure}{ending}"] = _figure(_values(mine, suite, figure), half)
        row |= {"less": count.less(arm, LOSS), "less_legality": count.less(arm, LEGALITY)}
        if arm != SCRATCH:
            row |= _transferred(arm, games, counts, draw)
        rows.append(row)
    return rows


def _by_arm(cells: Cells, games: int) -> dict[str, Cells]:
    """The cells of each arm at a game count."""
    arms = dict.fromkeys(cell["arm"] for cell in cells if cell["games"] == games)
    return {arm: [cell for cell in cells if (cell["arm"], cell["games"]) == (arm, games)] for arm in arms}


def _values(cells: Cells, suite: str = "legality", figure: str = LOSS) -> Floats:
    return np.array([float(cell["suites"][suite][figure]["value"]) for cell in cells])


def _is_cut_short(cell: Mapping[str, Any]) -> bool:
    """Whether a run ended with its budget, and so perhaps with the rate still high."""
    settings, trained = cell["recipe"]["train"], cell["trained"]
    budgets = ((trained[each], settings[f"max_{each}"]) for each in ("steps", "tokens", "minutes"))
    return bool(settings["patience"]) and any(done >= budget for done, budget in budgets if budget)


def _figure(values: Floats, half: float) -> dict[str, Any]:
    value, known = float(values.mean()), bool(np.isfinite(half))
    ends = {"low": value - half if known else None, "high": value + half if known else None}
    return {"value": value, **ends, "n": len(values)}


@dataclass(frozen=True)
class _Count:
    """The arms at one game count, with the spreads that are pooled over them."""

    arms: dict[str, Cells]

    @cached_property
    def alike(self) -> frozenset[str]:
        """The arms whose seeds are taken to spread alike."""
        return frozenset(
            arm
            for arm, (cell, *_) in self.arms.items()
            if not cell["differs"] and not cell["recipe"]["init"]["shuffle"]
        )

    def spread(self, arm: str, suite: str = "legality", figure: str = LOSS) -> Spread:
        """Of a figure of an arm."""
        arms = self.alike if arm in self.alike else (arm,)
        return pooled(_values(self.arms[each], suite, figure) for each in arms)

    def differences(self, arm: str, other: str, figure: str) -> Floats:
        """Of a figure on human games, less that of another arm at the same seed."""
        ours, theirs = ({cell["seed"]: cell for cell in self.arms[name]} for name in (arm, other))
        seeds = [seed for seed in ours if seed in theirs]
        mine, others = ([each[seed] for seed in seeds] for each in (ours, theirs))
        return _values(mine, figure=figure) - _values(others, figure=figure)

    def spread_of_differences(self, figure: str) -> Spread:
        """That of a difference of two arms alike at one seed: what is left beside arms and seeds.

        The mean variance over all pairs of arms; for arms of the same seeds twice the residual variance of a two-way
        table, which has (arms - 1) (seeds - 1) degrees of freedom.
        """
        pairs = [self.differences(arm, other, figure) for arm, other in combinations(sorted(self.alike), 2)]
        several = [pair for pair in pairs if len(pair) > 1]
        if not several:
            return Spread(0.0, 0)
        variance = float(np.mean([pair.var(ddof=1) for pair in several]))
        # So many arms have so many pairs.
        arms = (1 + (1 + 8 * len(several)) ** 0.5) / 2
        return Spread(variance**0.5, round((arms - 1) * (np.mean([len(pair) for pair in several]) - 1)))

    def less(self, arm: str, figure: str) -> dict[str, dict[str, Any]]:
        """The mean differences of an arm from each other one that it shares a seed with."""
        of_pool = self.spread_of_differences(figure)
        found: dict[str, dict[str, Any]] = {}
        for other in self.arms:
            mine = self.differences(arm, other, figure)
            if other != arm and len(mine):
                spread = of_pool if {arm, other} <= self.alike else pooled([mine])
                seen = spread.detectable(len(mine)) if spread.freedom else None
                found[other] = _figure(mine, spread.half(len(mine))) | {"detectable": seen}
        return found


def effective_games(loss: float, counts: Sequence[int], scratch: Floats) -> float:
    """The number of games from which scratch reaches a loss.

    Args:
        loss: of the arm.
        counts: scratch's game counts, rising, (K,).
        scratch: its loss at each, (K,); made to fall, since more games that made it worse are noise.

    Returns:
        Games; infinite beyond its largest count, 0 below its smallest.
    """
    # a draw from a wide interval may lie below 0
    loss, falling = max(loss, 1e-6), np.maximum(np.minimum.accumulate(scratch), 1e-6)
    if loss < falling[-1]:
        return float("inf")
    if loss > falling[0]:
        return 0.0
    return float(np.exp(np.interp(-np.log(loss), -np.log(falling), np.log(counts))))


def _transferred(arm: str, games: int, counts: Mapping[int, _Count], draw: np.random.Generator) -> dict[str, Any]:
    """Effective data of an arm; nothing where scratch has no ladder."""
    ladder = sorted(count for count, each in counts.items() if SCRATCH in each.arms)
    if len(ladder) < 2:
        return {}
    mine, spread = _values(counts[games].arms[arm]), counts[games].spread(arm)
    scratch = [_values(counts[count].arms[SCRATCH]) for count in ladder]
    spreads = [counts[count].spread(SCRATCH) for count in ladder]
    means = np.array([each.mean() for each in scratch])

    def drawn(spread: Spread, n: int) -> float:
        return float(draw.standard_t(spread.freedom)) * spread.deviation / n**0.5

    low = high = float("nan")
    if all(each.freedom for each in (spread, *spreads)):
        every = [
            effective_games(
                float(mine.mean()) + drawn(spread, len(mine)),
                ladder,
                means + [drawn(of, len(each)) for of, each in zip(spreads, scratch, strict=True)],
            )
            for _ in range(DRAWS)
        ]
        low, high = map(float, np.sort(every)[[int(0.025 * DRAWS), int(0.975 * DRAWS) - 1]])
    ends = {"value": effective_games(float(mine.mean()), ladder, means), "low": low, "high": high}
    known = {key: end if 0 < end < float("inf") else None for key, end in ends.items()}
    return {
        "effective_games": known,
        "transferred": {key: None if end is None else end - games for key, end in known.items()},
        "beyond": {key: end == float("inf") for key, end in ends.items()},
        "below": {key: end == 0.0 for key, end in ends.items()},
        "scratch_games": [ladder[0], ladder[-1]],
    }


def markdown(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows as Markdown: figures of each arm, then bits a move of each arm less those of each other one.

    Then the part of these differences that pays for legality.
    """
    rows = sorted(rows, key=lambda row: row["games"])
    human = ("bits a move", "of legality", "legal %")
    titles = ("arm", "games", "seeds", "rate", *human, "random games: bits", "legal %", "worth games of scratch")
    lines = markdown_table(titles, map(_figures_of, rows))
    differs = {row["arm"]: row["differs"] for row in rows if row["differs"]}
    if differs:
        lines += ["", *(f"\\* {arm}: {words}." for arm, words in differs.items())]
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    if len(arms) > 1:
        for key, title in (("less", "Bits a move less those of:"), ("less_legality", "Of this, bits of legality:")):
            compared = (_compared(row, key, arms) for row in rows)
            lines += ["", title, "", *markdown_table(("arm", "games", *arms), compared)]
    return lines


def _figures_of(row: Mapping[str, Any]) -> Sequence[str]:
    return (
        row["arm"] + (" *" if row["differs"] else ""),
        f"{row['games']:,}",
        str(row["seeds"]) + (f", {row['cut_short']} cut short" if row["cut_short"] else ""),
        f"{row['rate']:g}",
        _shown(row[LOSS], "{:.3f}"),
        _shown(row[LEGALITY], "{:.3f}"),
        _shown(row["legal_argmax"], "{:.1f}", 100),
        _shown(row[f"{LOSS}-random"], "{:.2f}"),
        _shown(row["legal_argmax-random"], "{:.1f}", 100),
        _worth(row) if "effective_games" in row else "",
    )


def _compared(row: Mapping[str, Any], key: str, arms: Sequence[str]) -> Sequence[str]:
    less = (_shown(row[key][arm], "{:+.3f}") if arm in row[key] else "" for arm in arms)
    return (row["arm"], f"{row['games']:,}", *less)


def _shown(figure: Mapping[str, Any], form: str, times: float = 1.0) -> str:
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    ends = "" if low is None else f" ({form.format(low * times)} to {form.format(high * times)})"
    return form.format(value * times) + ends


def _worth(row: Mapping[str, Any]) -> str:
    smallest, largest = row["scratch_games"]

    def end(key: str) -> str:
        if row["beyond"][key]:
            return f"> {largest:,}"
        return f"< {smallest:,}" if row["below"][key] else f"{row['effective_games'][key]:,.0f}"

    known = row["effective_games"]["low"] is not None or row["beyond"]["low"] or row["below"]["low"]
    return end("value") + (f" ({end('low')} to {end('high')})" if known else "")
