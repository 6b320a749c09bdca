"""When a published number counts as reproduced: pure functions from numbers to verdicts.

A published number is one draw of a random process, and so is each of our runs. Two or three runs say
little about their own spread, so the sample variance is shrunk towards a prior from published evidence
(`suite.published.priors`) with the weight of `NU0` degrees of freedom, and the published number is compared
with a prediction interval for one more run of ours, not with a confidence interval of our mean.

Notation, for ``n`` runs with mean ``m`` and sample sd ``s``::

    r   = 0.5 * 10^-decimals                            half of the last printed digit
    e   = max(0, |m - c| - r)                           difference that rounding cannot explain
    nu  = nu0 + n - 1
    s_p = sqrt((nu0*sigma0^2 + (n-1)*s^2) / nu)
    H   = t(0.975, nu) * s_p * sqrt(1 + 1/n)            half width of the 95 % prediction interval

On embedded data nothing published applies: gains are judged by their sign, with the noise that the rows of a
task share (`suite.verdicts.shared_noise`). All metrics are in percent points, as the papers print them.
"""

from suite.verdicts.absolute import (
    BLOCKED,
    DEVIATES_HIGH,
    DEVIATES_LOW,
    DEVIATIONS,
    INCONCLUSIVE,
    LARGEST_K,
    MOST_RUNS,
    NOT_COMPARABLE,
    REPRODUCED,
    STANDARD_RUNS,
    TEACHER_TOLERANCE,
    WIDER_PRIOR,
    AbsoluteName,
    AbsoluteVerdict,
    Judgement,
    Strength,
    expected_best,
    gate,
    judge_absolute,
    judge_claim,
    mean_interval,
    prediction_half_width,
    teacher_reason,
)
from suite.verdicts.arithmetic import NU0, mean_of
from suite.verdicts.families import SignTest, benjamini_hochberg, sign_test
from suite.verdicts.gains import (
    GAIN,
    GAIN_LARGER,
    GAIN_REPRODUCED,
    GAIN_SMALLER,
    GAIN_UNCLEAR,
    LOSS,
    NO_CHANGE,
    GainName,
    GainVerdict,
    PairedGain,
    judge_gain,
    judge_gain_sign,
)
from suite.verdicts.orders import MOST_PERMUTED, RankAgreement, rank_agreement, ranks
from suite.verdicts.shared_noise import (
    PooledGain,
    SharedNoise,
    judge_gains_together,
    judge_with,
    pairing_correlation,
    shared_noise,
)

__all__ = [
    "BLOCKED",
    "DEVIATES_HIGH",
    "DEVIATES_LOW",
    "DEVIATIONS",
    "GAIN",
    "GAIN_LARGER",
    "GAIN_REPRODUCED",
    "GAIN_SMALLER",
    "GAIN_UNCLEAR",
    "INCONCLUSIVE",
    "LARGEST_K",
    "LOSS",
    "MOST_PERMUTED",
    "MOST_RUNS",
    "NOT_COMPARABLE",
    "NO_CHANGE",
    "NU0",
    "REPRODUCED",
    "STANDARD_RUNS",
    "TEACHER_TOLERANCE",
    "WIDER_PRIOR",
    "AbsoluteName",
    "AbsoluteVerdict",
    "GainName",
    "GainVerdict",
    "Judgement",
    "PairedGain",
    "PooledGain",
    "RankAgreement",
    "SharedNoise",
    "SignTest",
    "Strength",
    "benjamini_hochberg",
    "expected_best",
    "gate",
    "judge_absolute",
    "judge_claim",
    "judge_gain",
    "judge_gain_sign",
    "judge_gains_together",
    "judge_with",
    "mean_interval",
    "mean_of",
    "pairing_correlation",
    "prediction_half_width",
    "rank_agreement",
    "ranks",
    "shared_noise",
    "sign_test",
    "teacher_reason",
]
