"""The table of ternary routing: what pruned transforms lose, beside plain baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlx_speech.audio.mel import MelSpec
from mlx_speech.butterfly.distill import (
    DistillSettings,
    Segments,
    cut_segments,
    distill,
    find_gates,
    fit_student,
)
from mlx_speech.butterfly.routing_report import (
    SPEECH,
    RoutingRow,
    baseline_jobs,
    check_held_out,
    mean_evaluation,
    student_row,
)
from mlx_speech.butterfly.student import RoutedMel, routing_spec

FRACTIONS = (0.96, 0.9, 0.75)
# dB of the learned students of the prototype that the recipe is from, measured on other
# recordings: for the order of magnitude only.
PROTOTYPE_DB = {0.96: 0.35, 0.9: 1.23, 0.75: 2.85}
RANDOM_SEEDS = (0, 1, 2)
LEARNED = "greedy, learned"
GREEDY = "greedy"
RANDOM = "random, 3 seeds"


@dataclass(frozen=True)
class RoutingCase:
    """Rows to measure, one after the other.

    Attributes:
        count: of rows.
        rows: makes them; each is measured when it is asked for.
    """

    count: int
    rows: Iterator[RoutingRow]


def routing_case(
    training: Sequence[np.ndarray],
    held_out: Mapping[str, np.ndarray],
    settings: DistillSettings | None = None,
    fractions: Sequence[float] = FRACTIONS,
    spec: MelSpec | None = None,
) -> RoutingCase:
    """The table: baselines, then for every fraction the controls and the students.

    Args:
        training: recordings at the spec's rate.
        held_out: sounds to evaluate on, `SPEECH` and `NOISE` among them.
        settings: of every training; its fraction and method are set here.
        fractions: descending.
        spec: None: 128 points, 40 bands, 16 kHz.

    Raises:
        SpeechError: a sound to evaluate on is trained on, or there is none.
    """
    check_held_out(training, held_out)
    spec = spec or routing_spec()
    data = cut_segments(training, spec)
    settings = settings or DistillSettings()
    jobs = baseline_jobs(spec, data, settings, held_out)
    table = _Table(spec, data, settings, held_out)
    for fraction in fractions:
        jobs += table.jobs(fraction)
    return RoutingCase(len(jobs), (job() for job in jobs))


def unordered_shares(rows: Sequence[RoutingRow]) -> list[float]:
    """Shares at which learning does not beat greedy pruning, or that not random."""
    speech = [
        {row.what: row.errors[SPEECH].mel_db for row in group}
        for group in _by_share(rows).values()
    ]
    return [
        share
        for share, errors in zip(_by_share(rows), speech, strict=True)
        if not errors[LEARNED] < errors[GREEDY] < errors[RANDOM]
    ]


def _by_share(rows: Sequence[RoutingRow]) -> dict[float, list[RoutingRow]]:
    groups: dict[float, list[RoutingRow]] = {}
    for row in rows:
        if row.target is not None:
            groups.setdefault(row.target, []).append(row)
    return groups


class _Table:
    def __init__(
        self,
        spec: MelSpec,
        data: Segments,
        settings: DistillSettings,
        held_out: Mapping[str, np.ndarray],
    ) -> None:
        self._spec = spec
        self._data = data
        self._settings = settings
        self._held_out = held_out
        # Greedy pruning to a smaller share goes on where the larger one ended.
        self._greedy: dict[str, np.ndarray] = {}

    def jobs(self, fraction: float) -> list[Callable[[], RoutingRow]]:
        settings = replace(self._settings, compute_fraction=fraction)
        return [
            lambda: self._random(settings),
            lambda: self._pruned(settings, "skip", "greedy, skip"),
            lambda: self._pruned(settings, "drop", GREEDY),
            lambda: self._learned(settings, "skip", "greedy, learned, skip"),
            lambda: self._other(settings, "subtree", "subtrees, learned"),
            lambda: self._other(settings, "logit", "learned gates, learned"),
            lambda: self._learned(settings, "drop", LEARNED),
        ]

    def _row(
        self, what: str, student: RoutedMel, settings: DistillSettings
    ) -> RoutingRow:
        return student_row(what, student, self._held_out, settings.compute_fraction)

    def _random(self, settings: DistillSettings) -> RoutingRow:
        rows = []
        for seed in RANDOM_SEEDS:
            student = RoutedMel(self._spec, corrector="none")
            find_gates(
                student, self._data, replace(settings, method="random", seed=seed)
            )
            rows.append(self._row(RANDOM, student, settings))
        errors = {
            name: mean_evaluation([row.errors[name] for row in rows])
            for name in self._held_out
        }
        return replace(rows[0], errors=errors)

    def _greedily(
        self, settings: DistillSettings, mode: str, corrector: str
    ) -> RoutedMel:
        student = RoutedMel(self._spec, mode, corrector=corrector)
        if mode in self._greedy:
            student.transform.set_gates(self._greedy[mode])
        find_gates(student, self._data, replace(settings, method="saliency"))
        self._greedy[mode] = student.transform.gates
        return student

    def _pruned(self, settings: DistillSettings, mode: str, what: str) -> RoutingRow:
        student = self._greedily(settings, mode, "none")
        return self._row(what, student, settings)

    def _learned(self, settings: DistillSettings, mode: str, what: str) -> RoutingRow:
        student = self._greedily(settings, mode, "gain")
        fit_student(student, self._data, settings)
        row = self._row(what, student, settings)
        if what != LEARNED:
            return row
        known = PROTOTYPE_DB.get(settings.compute_fraction)
        return replace(row, elsewhere_db=known)

    def _other(self, settings: DistillSettings, method: str, what: str) -> RoutingRow:
        student = RoutedMel(self._spec)
        distill(student, self._data, replace(settings, method=method))
        return self._row(what, student, settings)
