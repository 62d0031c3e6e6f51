"""Every gate, computed from the measured clips.

Shapes: P prompts (or guide clips), K clips of each, S segments; V the clips of each prompt that were reconstructed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from densedpo.gates import statistics
from densedpo.gates.arrays import Verdicts, per_clip, quality, segment_scores, speed
from densedpo.gates.samples import Takes
from densedpo.gates.statistics import Estimate, Floats, jackknife, log_speed, ratio
from densedpo.gates.table import Gate
from densedpo.tinyworld.second_scorer import SecondScores

THIRDS = ("slow", "middle", "fast")
ASPECTS = ("visual_quality", "text_alignment", "temporal_consistency")  # what the annotator judges by
RIGHT = 0.5  # of an attribute's score, from which on it counts as the caption's
DEFECTIVE = 0.6  # of the mean quality of real segments of the same caption


@dataclass(frozen=True)
class Measured:
    """Everything that was drawn and scored. `psnr_PV` is inside the object's box; `world_speed_PV` is exact."""

    real: Takes
    reconstructed: Takes
    second_reconstructed: list[list[SecondScores]]
    psnr_PV: Floats
    world_speed_PV: Floats
    base: Takes
    base_verdicts: Verdicts
    guided: Takes
    guided_verdicts: Verdicts
    second: list[list[SecondScores]]  # of the clips of `base`
    tuned: Takes  # the first clips of `base` once more, from the same noise, after fine-tuning on real clips
    cpu_seconds: float  # of one clip of `base`


def all_gates(measured: Measured) -> list[Gate]:
    """The gates in the study's order, then what is reported beside them."""
    return [
        *autoencoder(measured),
        *leaks(measured),
        *likeness(measured.base),
        *defects(measured),
        *motion(measured),
        *preferences(measured),
        *guided_pairs(measured),
        headroom(measured.base),
        finetuning(measured),
        *beside(measured),
    ]


def autoencoder(measured: Measured) -> list[Gate]:
    """What the autoencoder alone costs, and whether it costs fast clips more.

    Quality is a ratio of sums over the clips of a third, reconstruction over render; thirds are those of the world's
    own speed. The slopes are of quality, over that of the caption's real clips, against log speed.
    """
    real_PV = quality(measured.real)[:, : measured.psnr_PV.shape[1]]
    again_PV, speed_PV = quality(measured.reconstructed), measured.world_speed_PV

    def of_third(number: int) -> Estimate:
        def statistic(again_PV: Floats, real_PV: Floats, speed_PV: Floats) -> float:
            here = statistics.thirds(speed_PV) == number
            return ratio(again_PV[here], real_PV[here])

        return jackknife(statistic, again_PV, real_PV, speed_PV)

    count = again_PV.size
    quality_gates = [
        Gate(f"autoencoder: quality over that of renders, {name} third", of_third(i), count // 3, "clips", low=0.95)
        for i, name in enumerate(THIRDS)
    ]
    base_PK = quality(measured.base) / real_quality(measured.real)
    slopes = jackknife(
        statistics.slopes_ratio, log_speed(speed_PV), again_PV / real_PV, log_speed(speed(measured.base)), base_PK
    )
    return [
        *quality_gates,
        Gate("autoencoder: PSNR inside the object's box, dB", jackknife(_mean, measured.psnr_PV), count, "clips", 24),
        Gate("autoencoder: slope of quality over log speed / the base's", slopes, count, "clips", high=0.2),
    ]


def leaks(measured: Measured) -> list[Gate]:
    """Pearson's correlation of both scorers' aspects with log speed over reconstructions of real clips.

    Renders score alike at every speed (the oracle's own tests see to that); here a score that falls with speed is one
    that leaks motion, or an autoencoder that spoils fast clips: read it beside the correlation of the PSNR.
    """
    log_PV, gates = log_speed(measured.world_speed_PV), []
    for aspect in ASPECTS:
        oracle_PV = np.array([[getattr(each.scores.whole, aspect) for each in row] for row in measured.reconstructed])
        second_PV = np.array([[getattr(each, aspect) for each in row] for row in measured.second_reconstructed])
        for scorer, score_PV in (("oracle", oracle_PV), ("second scorer", second_PV)):
            name = f"reconstructions: {scorer}'s {aspect.replace('_', ' ')} against log speed"
            gates.append(
                Gate(name, jackknife(statistics.correlation, score_PV, log_PV), score_PV.size, "clips", -0.1, 0.1)
            )
    return gates


def likeness(base: Takes) -> list[Gate]:
    """Share of *clips* that are as the caption says.

    An attribute is right where the oracle's detail, a mean over frames with an object, is at least one half. A clip
    that has no object in most frames is wrong in everything.
    """
    empty_PK = per_clip(base, lambda each: each.scores.details["empty"]) > 0.5
    gates = []
    for name in ("colour", "shape", "background"):
        score_PK = np.array([[each.scores.details[name] for each in row] for row in base])
        share = jackknife(_mean, ((score_PK >= RIGHT) & ~empty_PK).astype(float))
        gates.append(Gate(f"{name} right", share, score_PK.size, "clips", low=0.85))
    return gates


def defective(takes: Takes, real: Takes) -> Floats:
    """Which segments are defective, `[P, K, S]` of 0 and 1: visual quality below 0.6 of what real segments score.

    Real is the mean over all segments of real clips of the same caption. Why 0.6: the oracle gives a well-formed shape
    that is not the caption's 0.8, and that is a matter of text, not a defect, so the bound lies clearly below. To fall
    under it from 1, a shape of 7 pixels radius must be off by an extra quarter of a pixel (-0.5 ln 0.6) all around its
    outline, or the object be missing for more than 2 frames in 5: damage that nobody overlooks. And it
    is worth 0.2 of the annotator's utility, several times its noise and its tie band.
    """
    level_P = segment_scores(real, "visual_quality").mean(axis=(1, 2))
    below_PKS = segment_scores(takes, "visual_quality") < DEFECTIVE * level_P[:, None, None]
    return np.asarray(below_PKS, dtype=np.float64)


def defects(measured: Measured) -> list[Gate]:
    """Defective segments, overall and by thirds of the segments' own speed."""
    base_PKS, speed_PKS = defective(measured.base, measured.real), segment_scores(measured.base, "dynamic_degree")

    def of_third(number: int) -> Estimate:
        def statistic(defective_PKS: Floats, speed_PKS: Floats) -> float:
            return float(defective_PKS[statistics.thirds(speed_PKS) == number].mean())

        return jackknife(statistic, base_PKS, speed_PKS)

    count = base_PKS.size
    return [
        Gate("defective segments", jackknife(_mean, base_PKS), count, "segments", low=0.25, high=0.45),
        Gate("defective segments, slow third", of_third(0), count // 3, "segments", high=0.15),
        Gate("defective segments, fast third", of_third(2), count // 3, "segments", low=0.40),
    ]


def motion(measured: Measured) -> list[Gate]:
    """How speed varies, what it costs, and whether the base moves as the real clips of its captions do."""
    speed_PK, quality_PK = speed(measured.base), quality(measured.base)
    prompts = len(speed_PK)
    against_real = jackknife(lambda base, real: ratio(base.mean(), real.mean()), speed_PK, speed(measured.real))
    correlation = jackknife(statistics.within_prompt_correlation, quality_PK, speed_PK)
    return [
        Gate("speed within a prompt: CV", jackknife(statistics.variation, speed_PK), prompts, "prompts", low=0.5),
        Gate("quality against log speed within a prompt: Spearman", correlation, prompts, "prompts", high=-0.35),
        Gate("mean speed, base over real", against_real, speed_PK.size, "clips", low=0.85, high=1.1),
    ]


def preferences(measured: Measured) -> list[Gate]:
    """Does the annotator prefer the slower clip, of all pairs of a row; and what choosing by it does to motion."""
    base_speed_PK, guided_speed_PK = speed(measured.base), speed(measured.guided)
    sides = (
        ("independent", measured.base_verdicts, base_speed_PK, 0.60, 0.70),
        ("guided", measured.guided_verdicts, guided_speed_PK, 0.46, 0.54),
    )
    gates = []
    for name, judged, speed_PK, low, high in sides:
        slower_P, decisive_P = statistics.slower_preferred(judged.whole_PKK, speed_PK)
        share, n = jackknife(ratio, slower_P, decisive_P), int(decisive_P.sum())
        gates.append(Gate(f"slower preferred, of two {name} clips", share, n, "decisive pairs", low=low, high=high))
    n = min(4, base_speed_PK.shape[1])
    best_P = np.array(
        [
            statistics.value_of_best(choice_KK, speed_K, n)
            for choice_KK, speed_K in zip(measured.base_verdicts.whole_PKK, base_speed_PK, strict=True)
        ]
    )
    lowered = jackknife(lambda best, mean: 1 - ratio(best, mean), best_P, base_speed_PK.mean(axis=1))
    return [*gates, Gate(f"best of {n} lowers mean speed by", lowered, len(best_P), "prompts", low=0.08)]


def guided_pairs(measured: Measured) -> list[Gate]:
    """Are guided pairs aligned, and do they leave something to prefer, second by second."""
    logs_PK, segments_PKKS = log_speed(speed(measured.guided)), measured.guided_verdicts.segments_PKKS
    apart = statistics.pairs_above_diagonal(np.abs(logs_PK[:, :, None] - logs_PK[:, None, :]))
    decisive = statistics.pairs_above_diagonal((segments_PKKS != 0).any(axis=3))
    mixed = statistics.pairs_above_diagonal((segments_PKKS > 0).any(axis=3) & (segments_PKKS < 0).any(axis=3))
    median, count = Estimate(float(np.median(apart))), apart.size
    return [
        Gate("guided pairs: median |difference of log speed|", median, count, "pairs", high=0.1),
        Gate("guided pairs with a segment that is no tie", jackknife(_mean, decisive), count, "pairs", low=0.7),
        Gate("guided pairs with segments for a and for b", jackknife(_mean, mixed), count, "pairs", low=0.3),
    ]


def headroom(base: Takes) -> Gate:
    """What choosing by quality itself could gain."""
    quality_PK = quality(base)
    gain = jackknife(_mean, quality_PK.max(axis=1) - quality_PK.mean(axis=1))
    return Gate(f"best of {quality_PK.shape[1]} minus mean quality", gain, len(quality_PK), "prompts", low=0.10)


def finetuning(measured: Measured) -> Gate:
    """Change of quality by fine-tuning on real clips, prompt by prompt from the same noises."""
    tuned_PK = quality(measured.tuned)
    change_PK = tuned_PK - quality(measured.base)[:, : tuned_PK.shape[1]]
    change = jackknife(_mean, change_PK)
    return Gate("change of quality by fine-tuning on real clips", change, change_PK.size, "clips", -0.01, 0.01)


def beside(measured: Measured) -> list[Gate]:
    """Not gates, but needed to read them."""
    empty_PK = per_clip(measured.base, lambda each: each.scores.details["empty"])
    real_PKS, base_PK = defective(measured.real, measured.real), quality(measured.base)
    rows = [
        Gate("visual quality", jackknife(_mean, base_PK), base_PK.size, "clips"),
        Gate("empty frames", jackknife(_mean, empty_PK), empty_PK.size, "clips"),
        Gate("defective segments of real clips", jackknife(_mean, real_PKS), real_PKS.size, "segments"),
    ]
    for name, judged in (("independent", measured.base_verdicts), ("guided", measured.guided_verdicts)):
        decisive = statistics.pairs_above_diagonal(judged.whole_PKK != 0)
        rows.append(
            Gate(f"decisive, of {name} pairs of whole clips", jackknife(_mean, decisive), decisive.size, "pairs")
        )
    psnr = jackknife(statistics.correlation, measured.psnr_PV, log_speed(measured.world_speed_PV))
    return [
        *rows,
        Gate("reconstructions: PSNR against log speed", psnr, measured.psnr_PV.size, "clips"),
        *agreement(measured),
        Gate("CPU-seconds for a clip", Estimate(measured.cpu_seconds), base_PK.size, "clips"),
    ]


def agreement(measured: Measured) -> list[Gate]:
    """Spearman's correlation of the oracle with the second scorer over all generated clips."""
    gates = []
    for aspect in (each.name for each in fields(SecondScores)):
        first_PK = np.array([[getattr(each.scores.whole, aspect) for each in row] for row in measured.base])
        second_PK = np.array([[getattr(each, aspect) for each in row] for row in measured.second])
        estimate = jackknife(statistics.rank_correlation, first_PK, second_PK)
        gates.append(Gate(f"two scorers agree on {aspect.replace('_', ' ')}", estimate, first_PK.size, "clips"))
    return gates


def real_quality(real: Takes) -> Floats:
    """Mean visual quality of the real clips of each caption, `[P, 1]`."""
    return np.asarray(quality(real).mean(axis=1, keepdims=True))


def _mean(values: Floats) -> float:
    return float(values.mean())
