"""Students: they learn, gates as well; baselines; what must never be trained on."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from mlx_speech.butterfly.corrector import CORRECTORS, Corrector
from mlx_speech.butterfly.distill import (
    DistillSettings,
    Segments,
    cut_segments,
    distill,
    find_gates,
    fit_student,
)
from mlx_speech.butterfly.parameters import to_pairs
from mlx_speech.butterfly.routing_report import (
    NOISE,
    SPEECH,
    Evaluation,
    ExactMel,
    baseline_jobs,
    check_held_out,
    evaluate,
    pruned_row,
    student_row,
    verdict,
    white_noise,
)
from mlx_speech.butterfly.student import (
    PRESETS,
    EvenBinsMel,
    RoutedMel,
    preset_named,
    routing_spec,
)
from mlx_speech.errors import SpeechError

SPEC = routing_spec(32, 12)


def coloured(seed: int, seconds: float = 1.0) -> np.ndarray:
    """Noise of which most energy is low, as in speech."""
    draw = np.random.default_rng(seed)
    white = draw.standard_normal(round(seconds * 16000) + 40)
    low = np.convolve(white, np.hanning(12))[:-51]
    return (0.05 * low + 0.002 * white[: len(low)]).astype(np.float32)


@pytest.fixture(scope="module")
def data() -> Segments:
    return cut_segments([coloured(seed) for seed in range(4)], SPEC)


@pytest.fixture(scope="module")
def held_out() -> dict[str, np.ndarray]:
    return {SPEECH: coloured(99), NOISE: white_noise(1, 16000)}


def test_segments_are_windowed_frames_of_whole_recordings(data: Segments) -> None:
    assert data.frames_sfn.shape[1:] == (16, 32)
    first = coloured(0)[:32] * np.hanning(33)[:32]
    np.testing.assert_allclose(data.frames_sfn[0, 0], first, atol=1e-7)
    assert data.floor_s.shape == (len(data.frames_sfn),) and (data.floor_s > 0).all()


def test_learning_makes_good_what_pruning_lost(
    data: Segments, held_out: dict[str, np.ndarray]
) -> None:
    settings = DistillSettings(compute_fraction=0.9, steps=150)
    student = RoutedMel(SPEC)
    result = distill(student, data, settings)
    assert result.losses[-1][0] == 150
    assert 0.8 < student.compute_fraction <= 0.9
    learned = student_row("learned", student, held_out)
    greedy = pruned_row("pruned", student, held_out)
    chance = RoutedMel(SPEC, corrector="none")
    find_gates(chance, data, replace(settings, method="random"))
    random = student_row("random", chance, held_out)
    errors = [row.errors[SPEECH].mel_db for row in (learned, greedy, random)]
    assert errors[0] < 0.8 * errors[1] < 0.8 * errors[2]
    # Trained to the same share, no row's noise is better than the bound allows.
    assert greedy.bound is not None
    assert greedy.errors[NOISE].spectrum > 0.9 * greedy.bound


@pytest.mark.parametrize("gate", ["soft", "straight-through", "gumbel"])
def test_gates_are_learned(
    gate: str, data: Segments, held_out: dict[str, np.ndarray]
) -> None:
    settings = DistillSettings(
        compute_fraction=0.8, method="logit", gate=gate, gate_steps=60, steps=60
    )
    student = RoutedMel(SPEC)
    before = [np.array(each) for each in student.transform.logits]
    result = distill(student, data, settings)
    moved = [
        np.abs(np.array(after) - each).max()
        for after, each in zip(student.transform.logits, before, strict=True)
    ]
    assert min(moved) > 0.01
    assert [step for step, _ in result.losses] == [25, 50, 60, 85, 110, 120]
    assert student.transform.relaxation is None
    assert student.compute_fraction <= 0.8
    chance = RoutedMel(SPEC, corrector="none")
    find_gates(chance, data, replace(settings, method="random"))
    errors = [evaluate(each, held_out[SPEECH]).mel_db for each in (student, chance)]
    assert errors[0] < errors[1]


def test_distillation_is_repeatable(data: Segments) -> None:
    settings = DistillSettings(compute_fraction=0.9, steps=5, seed=3)
    students = [RoutedMel(SPEC), RoutedMel(SPEC)]
    losses = [distill(each, data, settings).losses for each in students]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_train(name: str, data: Segments) -> None:
    preset = preset_named(name)
    student = RoutedMel(SPEC, layout=preset.layout, corrector=preset.corrector)
    settings = DistillSettings(
        compute_fraction=preset.compute_fraction, steps=3, reverse=preset.reverse
    )
    distill(student, data, settings)
    pruned = name != "fusion-only"
    assert (student.compute_fraction < 1) == pruned
    full = RoutedMel(SPEC, corrector="none").cost().transform
    transform = student.cost().transform
    assert transform > full if preset.layout == "dual" else transform <= full


@pytest.mark.parametrize("kind", CORRECTORS)
def test_correctors_begin_as_the_identity_and_are_counted(kind: str) -> None:
    bins = 65
    corrector = Corrector(kind, bins)
    draw = np.random.default_rng(0)
    x = draw.standard_normal((3, bins)) + 1j * draw.standard_normal((3, bins))
    same = corrector(mx.array(x.astype(np.complex64)))
    np.testing.assert_allclose(np.array(same), x, atol=1e-5)
    count = {"none": 0, "gain": 390, "affine": 260, "dense": 2 * 130 * 130}
    count["band-narrow"] = 2 * (130 * 65 - 32 * 33)
    count["band-wide"] = 2 * (130 * 130 - 33 * 34)
    assert corrector.operations == count[kind]
    assert corrector.mixes_bins == (kind in ("band-narrow", "band-wide", "dense"))


def test_a_dense_corrector_is_a_transform_of_its_own() -> None:
    """It repairs a network without a single butterfly: no sparsity is claimed of it."""
    student = RoutedMel(SPEC, mode="skip", corrector="dense")
    student.transform.set_gates(np.zeros_like(student.transform.gates))
    x = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    # What is left is the input in another order; half of it is read.
    kept = np.array(student.transform(mx.array(x)))[:, : SPEC.n_bins].real
    exact = np.fft.rfft(x)
    pairs = np.stack([exact.real, exact.imag], -1).reshape(64, -1)
    weights = np.linalg.lstsq(kept, pairs, rcond=None)[0]
    residual = np.linalg.norm(kept @ weights - pairs) / np.linalg.norm(pairs)
    assert residual > 0.5
    student.transform = RoutedMel(SPEC).transform
    student.transform.twiddles = [
        to_pairs(np.full(each.shape[:-1], 0.7j)) for each in student.transform.twiddles
    ]
    own = np.array(student.transform(mx.array(np.eye(32, dtype=np.float32))))
    own = own[:, : SPEC.n_bins]
    target = np.fft.rfft(np.eye(32))
    flat = [np.stack([z.real, z.imag], -1).reshape(32, -1) for z in (own, target)]
    student.corrector.matrix = mx.array(
        np.linalg.lstsq(flat[0], flat[1], rcond=None)[0].astype(np.float32)
    )
    np.testing.assert_allclose(np.array(student(mx.array(x))), exact, atol=1e-3)


def test_baselines_stand_in_every_report(
    data: Segments, held_out: dict[str, np.ndarray]
) -> None:
    jobs = baseline_jobs(SPEC, data, DistillSettings(steps=20), held_out)
    rows = {row.what: row for row in (job() for job in jobs)}
    for what in ("exact real FFT", "output-pruned FFT", "all gates on, untrained"):
        assert rows[what].errors[SPEECH].mel_db < 1e-3
        assert rows[what].errors[NOISE].spectrum < 1e-6
    even = rows["even bins and learned bands"]
    assert 0.1 < even.errors[SPEECH].mel_db < 6
    exact = rows["exact real FFT"].cost.total
    assert even.cost.total < exact < rows["all gates on, untrained"].cost.total
    student = RoutedMel(SPEC)
    find_gates(student, data, DistillSettings(compute_fraction=0.8))
    report = [*rows.values(), student_row("student", student, held_out)]
    assert "never" in verdict(report)
    exact_cost = rows["exact real FFT"].cost
    better = dict.fromkeys((SPEECH, NOISE), Evaluation(0.1, 1.0, 0.1))
    cheap = replace(report[-1], cost=replace(exact_cost, transform=200), errors=better)
    assert f"{cheap.cost.total} operations" in verdict([*report, cheap])


def test_even_bins_are_exact_and_the_odd_ones_missing() -> None:
    x = mx.random.normal((4, 32), key=mx.random.key(1))
    own = np.array(EvenBinsMel(SPEC)(x))
    exact = np.fft.rfft(np.array(x))
    np.testing.assert_allclose(own[:, ::2], exact[:, ::2], atol=1e-5)
    assert not own[:, 1::2].any()
    pruned = np.array(ExactMel(SPEC, pruned=True)(x))
    np.testing.assert_allclose(pruned[:, 1:-1], exact[:, 1:-1], atol=1e-5)


def test_what_is_trained_on_is_no_evaluation() -> None:
    clips = [coloured(0), coloured(1)]
    noise = {NOISE: white_noise(1, 16000)}
    check_held_out(clips, noise | {SPEECH: coloured(2)})
    with pytest.raises(SpeechError, match="`speech` is among the recordings"):
        check_held_out(clips, noise | {SPEECH: coloured(1)})
    with pytest.raises(SpeechError, match="no recording to evaluate on"):
        check_held_out(clips, noise)


def test_recordings_that_cannot_teach_are_refused() -> None:
    broken = coloured(0)
    broken[5] = np.nan
    with pytest.raises(SpeechError, match="recording 1 holds values"):
        cut_segments([coloured(0), broken], SPEC)
    with pytest.raises(SpeechError, match="none of 2 recordings"):
        cut_segments([np.zeros(9000, np.float32), coloured(0)[:50]], SPEC)


def test_a_training_that_diverges_is_stopped(data: Segments) -> None:
    with pytest.raises(SpeechError, match="diverged at step"):
        fit_student(RoutedMel(SPEC), data, DistillSettings(learning_rate=1e30))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compute_fraction": 0.0}, "compute fraction"),
        ({"compute_fraction": 1.1}, "compute fraction"),
        ({"method": "luck"}, "unknown pruning method"),
        ({"gate": "hard"}, "unknown relaxation"),
        ({"steps": -1}, "not possible"),
        ({"learning_rate": 0.0}, "not possible"),
        ({"temperature": (1.0, 0.0)}, "temperatures"),
        ({"seed": 2**64}, "seed 18446744073709551616 is out of range"),
    ],
)
def test_impossible_settings_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(SpeechError, match=message):
        DistillSettings(**settings)


def test_impossible_students_are_refused() -> None:
    with pytest.raises(SpeechError, match="power of two"):
        RoutedMel(routing_spec(400))
    with pytest.raises(SpeechError, match="unknown layout"):
        RoutedMel(SPEC, layout="triple")
    with pytest.raises(SpeechError, match="unknown corrector"):
        RoutedMel(SPEC, corrector="magic")
    with pytest.raises(SpeechError, match="power 1"):
        RoutedMel(replace(SPEC, power=1))
    with pytest.raises(SpeechError, match="unknown preset"):
        preset_named("sparse")
