"""The Airy function Ai: a polynomial between, exponential decay above, phase and amplitude below [DLMF 9.7].

The polynomials are Chebyshev interpolants in 45 digits, rewritten in powers and cut below 2e-17. All is computed in
float64: the phase of a large argument needs the digits.
"""

from __future__ import annotations

from tritorch.ops.formula import absolute, cos, exp, formula, polynomial, rsqrt, sin, sqrt, where
from tritorch.ops.promotion import doubled, without_halves
from tritorch.ops.special.bessel import Bessel


@formula
def _ai_between(t):
    """Ai(x) for x from -4 to 3, of t = (x + 0.5) / 3.5."""
    return polynomial(t, (
        0.4757280916105396, -0.7142858461884158, -1.456917280557278, 4.128640455950985, -1.8084489426595236,
        -4.387662559829468, 6.269740310753999, -1.206257505660983, -4.045056993812789, 3.836158931252791,
        -0.29935907241806603, -1.790257201107999, 1.2599158263390933, -0.011985220532592402, -0.46414432079478674,
        0.25758237170858866, 0.009704337936860331, -0.07896276150570518, 0.03589646118906576, 0.002630703339513439,
        -0.00948725005481362, 0.003626130216701685, 0.0003688852812037602, -0.0008477984225615693,
        0.0002788096163084465, 3.495174372725282e-05, -5.966782064291749e-05, 1.6845772920776873e-05,
        3.1757214102062033e-06, -3.391573667589776e-06, 5.042301891854517e-07, 2.3098953933199213e-07,
        -7.135668377266467e-08,
    ))  # fmt: skip


@formula
def _ai_above(t):
    """2 sqrt(pi) x^(1/4) exp(z) Ai(x) for x from 3, z = 2 / 3 x^(3/2), of t = 4 sqrt(3) / z - 1."""
    return polynomial(t, (
        0.990655538516276, -0.008744573713376872, 0.0005332340537004204, -5.6602741564722787e-05,
        8.193043582518627e-06, -1.4593784834842726e-06, 3.0262740926981904e-07, -7.059864132257924e-08,
        1.8109532046691504e-08, -5.0248975401960824e-09, 1.4842802599299915e-09, -4.644240281091561e-10,
        1.6249701266095548e-10, -5.769942106069753e-11, 1.1554905698278335e-11, -3.301948650447137e-12,
        6.1223863563789205e-12, -2.6558194824670054e-12,
    ))  # fmt: skip


@formula
def _ai_even(t):
    """The factor of the sine for x below -4, of t = 2 (16 / 3 / z)^2 - 1."""
    return polynomial(t, (
        0.999363720981151, -0.0006209941418019416, 1.4258707706651875e-05, -9.054529720196242e-07,
        1.0042136705887986e-07, -1.5925134157474398e-08, 3.2419573130647253e-09, -7.938135001056149e-10,
        2.225650861541687e-10, -6.96436403087975e-11, 2.705853629796065e-11, -1.1002442862433134e-11,
        9.305121270486023e-13, 2.2103630245487495e-13, 2.0179198677608532e-12, -1.0992152516140823e-12,
    ))  # fmt: skip


@formula
def _ai_odd(t):
    """z times the factor of the cosine for x below -4, of t = 2 (16 / 3 / z)^2 - 1."""
    return polynomial(t, (
        0.0688085741766544, -0.0006071316848869089, 2.6011127080243395e-05, -2.3247007302733242e-06,
        3.229739057938273e-07, -6.030167966064036e-08, 1.3918092556485584e-08, -3.768710626282985e-09,
        1.1561114150371971e-09, -3.9105837821079025e-10, 1.4335348115394487e-10, -5.953716438186264e-11,
        2.6357340107442783e-11, -5.502987397594759e-12, 4.3752218111795315e-13, -8.065123708442928e-12,
        5.808477340027546e-12, 3.246731273922276e-12, -2.574272442796316e-12, -1.3647556331014506e-12,
        9.28345643936617e-13,
    ))  # fmt: skip


@formula
def airy_ai(x):
    """Ai: oscillates below 0, vanishes above."""
    far = absolute(x) == float("inf")
    above, below = where((x > 3) & (x < 104), x, 3), where((x < -4) & (far == 0), -x, 4)
    between = _ai_between((where((x > 3) | (x < -4), 0, x) + 0.5) / 3.5)
    z = 0.6666666666666666 * above * sqrt(above)
    vanishing = exp(-z) * _ai_above(6.928203230275509 / z - 1) * (0.28209479177387814 * rsqrt(sqrt(above)))
    z = 0.6666666666666666 * below * sqrt(below)
    t, sine, cosine = 2 * (5.333333333333333 / z) * (5.333333333333333 / z) - 1, sin(z), cos(z)
    wave = (sine + cosine) * _ai_even(t) + (sine - cosine) / z * _ai_odd(t)
    oscillating = wave * (0.3989422804014327 * rsqrt(sqrt(below)))
    found = where(x > 3, where(x > 103.892, 0, vanishing), where(x < -4, oscillating, between))
    return where(far, float("nan"), found)


class AiryAi(Bessel):
    """The Airy function Ai; NaN at the infinities, as in PyTorch."""

    op_name = "special_airy_ai"
    exports = ("special.airy_ai",)
    types = staticmethod(doubled(without_halves("airy_ai_cpu")))
    value = airy_ai
    reference = staticmethod(airy_ai.fn)
