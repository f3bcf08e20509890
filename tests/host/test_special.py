"""Special functions at points whose values are known, their edges, and the windows made of them."""

from __future__ import annotations

import math

import pytest
from tolerances import close

import tritorch as torch

# (function, arguments, value), the values from mpmath in 30 digits.
KNOWN = [
    ("i0", (2.5,), 3.289839144050123),
    ("i0", (12.0,), 18948.925349296307),
    ("i0e", (-9.0,), 0.134959524581723),
    ("i1", (-3.0,), -3.9533702174026093),
    ("i1e", (11.0,), 0.1160577581698902),
    ("bessel_j0", (2.5,), -0.048383776468198),
    ("bessel_j0", (-17.0,), -0.16985425215118355),
    ("bessel_y0", (0.5,), -0.44451873350670656),
    ("bessel_y0", (23.0,), -0.03598179027370283),
    ("modified_bessel_k0", (0.5,), 0.9244190712276659),
    ("modified_bessel_k0", (7.0,), 0.0004247957418692318),
    ("scaled_modified_bessel_k0", (30.0,), 0.22788666561625373),
    ("bessel_j1", (2.5,), 0.49709410246427405),
    ("bessel_j1", (-17.0,), 0.09766849275778065),
    ("bessel_y1", (0.5,), -1.471472392670243),
    ("bessel_y1", (23.0,), 0.16166920099263313),
    ("modified_bessel_k1", (0.5,), 1.656441120003301),
    ("modified_bessel_k1", (7.0,), 0.00045418248688489695),
    ("scaled_modified_bessel_k1", (30.0,), 0.2316541293777118),
    ("airy_ai", (-9.5,), 0.3191032477191282),
    ("airy_ai", (-1.0,), 0.5355608832923521),
    ("airy_ai", (2.0,), 0.03492413042327438),
    ("airy_ai", (5.0,), 0.00010834442813607442),
    ("spherical_bessel_j0", (2.0,), 0.45464871341284085),
    ("erfc", (4.0,), 1.541725790028002e-08),
    ("erfcx", (-1.5,), 18.653886256262734),
    ("erfcx", (20.0,), 0.02817434874105132),
    ("erfinv", (0.3,), 0.2724627147267544),
    ("erfinv", (-0.9375,), -1.3171503349861307),
    ("ndtr", (-6.0,), 9.86587645037698e-10),
    ("ndtri", (0.0009765625,), -3.0972690781987846),
    ("log_ndtr", (-30.0,), -454.3212439563432),
    ("gammaln", (-2.5,), -0.056243716497674054),
    ("gammaln", (0.25,), 1.2880225246980774),
    ("digamma", (0.25,), -4.2274535333762655),
    ("digamma", (-3.25,), 4.46627587235028),
    ("digamma", (31.0,), 3.4177714660188583),
    ("zeta", (3.0, -2.5), 0.0541020258208637),
    ("zeta", (1.25, 4.0), 2.921385056332222),
    ("zeta", (40.0, 12.0), 7.095906493130483e-44),
    ("gammainc", (0.5, 0.25), 0.5204998778130465),
    ("gammaincc", (0.5, 0.25), 0.4795001221869535),
    ("gammainc", (3.0, 9.0), 0.9937678048936227),
    ("gammaincc", (3.0, 9.0), 0.006232195106377317),
    ("gammainc", (150.0, 140.0), 0.20954362391860706),
    ("gammaincc", (150.0, 140.0), 0.790456376081393),
    ("gammainc", (2000.0, 2050.0), 0.8678507404035056),
    ("gammaincc", (2000.0, 2050.0), 0.13214925959649443),
    ("chebyshev_polynomial_t", (0.3, 9.0), 0.3888276480000001),
    ("chebyshev_polynomial_u", (0.3, 9.0), 0.09908889600000012),
    ("hermite_polynomial_h", (0.3, 6.0), -59.041344),
    ("laguerre_polynomial_l", (1.5, 7.0), 0.5987583705357142),
    ("legendre_polynomial_p", (0.3, 7.0), -0.22407298125000003),
    ("shifted_chebyshev_polynomial_t", (0.8, 5.0), -0.07584000000000056),
    ("hermite_polynomial_he", (2.0, 5.0), -18.0),
    ("chebyshev_polynomial_v", (0.25, 4.0), 1.1875),
    ("chebyshev_polynomial_w", (0.25, 4.0), -0.5625),
]


@pytest.fixture(params=["cpu", "interpreter"])
def device(request):
    torch.set_default_device(request.param)
    return request.param


def doubles(*values):
    return [torch.tensor(each, dtype=torch.float64) for each in values]


@pytest.mark.parametrize("name, arguments, value", KNOWN)
def test_known_values(device, name, arguments, value):
    close(getattr(torch.special, name)(*doubles(*arguments)), value)


def test_derivatives_of_log_gamma(device):
    x = torch.tensor([1.5, 2.0], dtype=torch.float64, requires_grad=True)
    torch.special.polygamma(1, x)[0].backward()
    close(x.grad, [-0.82879664423432, 0])
    close(torch.polygamma(1, doubles(-1.5)[0]), 9.379246644989124)
    close(torch.mvlgamma(doubles(5.0)[0], 3), 9.140644699192544)


EDGES = [
    ("digamma", (0.0, -0.0, -1.0, math.inf), (-math.inf, math.inf, math.nan, math.inf)),
    ("gammaln", (0.0, -2.0, -math.inf, 1.0), (math.inf, math.inf, math.inf, 0.0)),
    ("erfinv", (-1.0, 1.0, 1.5, math.nan), (-math.inf, math.inf, math.nan, math.nan)),
    ("ndtri", (0.0, 1.0, -0.5, 0.5), (-math.inf, math.inf, math.nan, 0.0)),
    ("erfcx", (-math.inf, math.inf, -30.0, math.nan), (math.inf, 0.0, math.inf, math.nan)),
    ("entr", (0.0, -1.0, 1.0, math.nan), (0.0, -math.inf, 0.0, math.nan)),
    ("bessel_y1", (0.0, -1.0, math.nan), (-math.inf, math.nan, math.nan)),
    ("modified_bessel_k1", (0.0, -1.0, math.inf), (math.inf, math.nan, 0.0)),
    ("airy_ai", (104.0, math.inf), (0.0, math.nan)),
    ("spherical_bessel_j0", (0.0, -math.inf), (1.0, 0.0)),
]


@pytest.mark.parametrize("name, points, values", EDGES)
def test_edges(device, name, points, values):
    close(getattr(torch.special, name)(torch.tensor(points)), values)


def test_incomplete_gamma_at_its_edges(device):
    a = torch.tensor([0.0, 1.0, 0.0, math.inf, 1.0, -1.0, math.inf])
    x = torch.tensor([1.0, 0.0, 0.0, 1.0, math.inf, 1.0, math.inf])
    close(torch.igamma(a, x), [1, 0, math.nan, 0, 1, math.nan, math.nan])
    close(torch.igammac(a, x), [0, 1, math.nan, 1, 0, math.nan, math.nan])


def test_incomplete_gamma_of_a_large_number(device):
    close(torch.igamma(*doubles(2e5, 2e5)), 0.5002973539, gradient=True)


def test_incomplete_gamma_has_a_gradient_by_its_second_argument_only():
    a, x = torch.tensor([2.0], requires_grad=True), torch.tensor([1.0], requires_grad=True)
    with pytest.raises(NotImplementedError, match="the derivative for 'igamma: input' is not implemented"):
        torch.igamma(a, x)
    torch.igamma(a.detach(), x).backward()
    close(x.grad, [math.exp(-1)])


def test_long_recurrences_end(device):
    degree = torch.tensor([math.inf, 1e30, -math.inf, -3.0])
    close(torch.special.legendre_polynomial_p(torch.tensor(0.5), degree), [math.nan, math.nan, 0, 0])


def test_windows(device):
    windows = torch.signal.windows
    close(windows.hann(5), [0, 0.5, 1, 0.5, 0])
    close(windows.hann(4, sym=False), [0, 0.5, 1, 0.5])
    close(torch.hann_window(4), [0, 0.5, 1, 0.5])
    close(torch.hamming_window(3, False), [0.08, 1, 0.08])
    close(torch.bartlett_window(4), [0, 0.5, 1, 0.5])
    close(windows.kaiser(3, beta=0.0), [1, 1, 1])
    close(windows.gaussian(3, std=0.5), [math.exp(-2), 1, math.exp(-2)])
    close(windows.exponential(3), [math.exp(-1), 1, math.exp(-1)])
    assert windows.nuttall(0).shape == (0,)
    assert windows.cosine(1, dtype=torch.float64, requires_grad=True).requires_grad


def test_windows_refuse():
    windows = torch.signal.windows
    with pytest.raises(ValueError, match="hann requires non-negative window length, got M=-1"):
        windows.hann(-1)
    with pytest.raises(ValueError, match="expects float32 or float64 dtypes"):
        windows.hann(3, dtype=torch.float16)
    with pytest.raises(ValueError, match="Center must be None for symmetric windows"):
        windows.exponential(3, center=1.0)
    with pytest.raises(RuntimeError, match="hann_window requires non-negative window_length"):
        torch.hann_window(-1)


def test_incomplete_gamma_functions_of_many_elements_are_those_of_few():
    shape, x = torch.full((5000,), 2.5), torch.full((5000,), 1.5)
    few = torch.igamma(shape[:7], x[:7])
    assert torch.equal(torch.igamma(shape, x)[:7], few)
    assert torch.equal(torch.igammac(shape, x)[:7], torch.igammac(shape[:7], x[:7]))
