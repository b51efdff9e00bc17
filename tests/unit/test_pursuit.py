"""Pursuit: each step against what theory says of it, and the result as a network."""

import math

import pytest
import torch

from ebmlib.checkpoint import load_models, save_models
from ebmlib.distributions import CrossLines, TwoGaussians
from ebmlib.energy import TiltedEnergy, gaussian
from ebmlib.grid import Grid, GridDensity
from ebmlib.partition import ReLUPartition
from ebmlib.pursuit import (
    CRITERIA,
    Filters,
    StatisticsNotMatched,
    filter_pool,
    filter_scores,
    match_statistics,
    pursue,
    second_order_gain,
)
from ebmlib.samplers import Langevin, sample

GRID = Grid(bins=50)
POOL = filter_pool(24, 15)
TOLERANCE = 1e-8


@pytest.fixture(scope="module", params=CRITERIA)
def pursuit(request):
    return pursue(
        CrossLines(), gaussian(), 6, criterion=request.param, pool=POOL, grid=GRID
    )


def steps_of(pursuit):
    """Models before and after each step, and how far the coefficients moved."""
    for k, step in enumerate(pursuit.history):
        old = torch.zeros(k + 1, dtype=torch.float64)
        if k:
            old[:k] = pursuit.history[k - 1].coefficients
        moved = float((step.coefficients - old).abs().sum())
        before, after = (GridDensity(pursuit.after(i), GRID) for i in (k, k + 1))
        yield k, step, before, after, moved


def test_every_refit_matches_every_statistic(pursuit):
    data = GridDensity(CrossLines(), GRID)
    for k, step, _, after, _ in steps_of(pursuit):
        chosen = pursuit.filters[: k + 1]
        gap = data.expectation(chosen.values) - after.expectation(chosen.values)
        assert float(gap.abs().max()) <= TOLERANCE + 1e-13  # rounding of the check
        assert step.residual <= TOLERANCE
        assert step.statistic == pytest.approx(
            float(data.expectation(chosen.values)[k])
        )


def test_the_likelihood_never_falls(pursuit):
    """Concavity bounds a fall by the gradient that is left, times the change."""
    for _, step, _, _, moved in steps_of(pursuit):
        assert step.gain >= -TOLERANCE * moved
    data = GridDensity(CrossLines(), GRID)
    kl = [data.kl(pursuit.after(k)) for k in range(7)]
    torch.testing.assert_close(pursuit.kl, torch.tensor(kl, dtype=torch.float64))


def test_kl_falls_by_exactly_the_kl_of_new_from_old(pursuit):
    """Pythagoras: the gain is KL(new || old), up to the gaps times the coefficients."""
    for _, step, before, after, moved in steps_of(pursuit):
        assert step.gain == pytest.approx(
            after.kl(before), abs=TOLERANCE * moved + 1e-12
        )


def test_the_filter_with_the_best_score_is_taken(pursuit):
    """Scores computed anew, by the definition of the criterion, on the same pool."""
    data = GridDensity(CrossLines(), GRID)
    points, target = GRID.points_as(torch.float64), data.expectation(POOL.values)
    for k, step, before, _, _ in steps_of(pursuit):
        values = POOL.values(points)
        mean = before.prob @ values
        gap = (target - mean).abs()
        if pursuit.criterion == "mismatch":
            score = gap
        elif pursuit.criterion == "normalised":
            score = gap / (before.prob @ (values - mean).square()).sqrt()
        else:
            score = filter_scores(
                POOL,
                target,
                points,
                before.prob,
                pursuit.criterion,
                pursuit.filters[:k].values(points),
            )
        possible = target < values.amax(0)
        possible &= target > values.amin(0)
        assert step.score == pytest.approx(float(score[possible].max()), rel=1e-6)


@pytest.mark.parametrize("n_chosen", [0, 3])
def test_the_predicted_gain_is_right_to_second_order(n_chosen):
    """Data that leave the model by eps: gain - prediction is of third order.

    Halving eps divides a third-order error by 8 and a second-order one by 4; 6 is
    between the two, and the next order moves the ratio by a share of order eps.
    """
    start = pursue(TwoGaussians(sd=0.3), gaussian(), n_chosen, pool=POOL, grid=GRID)
    points = GRID.points_as(torch.float64)
    prob = GridDensity(start.after(n_chosen), GRID).prob
    chosen = start.filters.values(points)
    value = Filters(torch.tensor([0.4]), torch.tensor([0.1])).values(points)
    features = torch.cat([chosen, value], 1)
    # move the mean of the new filter alone: tilt by what the chosen ones cannot say
    centred = features - prob @ features
    basis = torch.cat([torch.ones_like(value), chosen], 1) * prob.sqrt()[:, None]
    residual = value * prob.sqrt()[:, None]
    residual = residual - basis @ torch.linalg.lstsq(basis, residual).solution
    tilt = (residual / prob.sqrt()[:, None])[:, 0]
    assert float((prob * tilt) @ centred[:, :-1].sum(1)) == pytest.approx(0, abs=1e-10)

    errors = []
    for eps in (0.1, 0.05):
        data = prob * (1 + eps * tilt / float(tilt.abs().max()))
        target = data @ features
        fitted = match_statistics(features, target, prob.log(), tolerance=1e-13)
        gain = float(fitted.coefficients @ target) - fitted.log_partition
        predicted = second_order_gain(value[:, 0], float(target[-1]), prob, chosen)
        assert predicted == pytest.approx(gain, rel=0.1)
        errors.append(abs(gain - predicted))
    assert errors[0] / errors[1] > 6


def test_orthogonalised_scores_are_second_order_gains():
    """score**2 / 2 is the gain that Newton's step of all coefficients predicts."""
    start = pursue(CrossLines(), gaussian(), 3, pool=POOL, grid=GRID)
    points = GRID.points_as(torch.float64)
    prob = GridDensity(start.model, GRID).prob
    pool = filter_pool(5, 3)
    target = GridDensity(CrossLines(), GRID).expectation(pool.values)
    chosen = start.filters.values(points)
    scores = filter_scores(pool, target, points, prob, "orthogonalised", chosen)
    values = pool.values(points)
    for score, value, t in zip(scores, values.T, target, strict=True):
        gain = second_order_gain(value, float(t), prob, chosen)
        assert float(score) ** 2 / 2 == pytest.approx(gain, rel=1e-6)


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_eight_raw_filters_come_within_0035_of_two_gaussians(seed):
    data = TwoGaussians()
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        data = data.sample((20_000,), generator=generator)
        data = data[(data.abs() <= 1).all(1)]  # a millionth of the mass is outside
    pursuit = pursue(data, gaussian(), 8)
    assert GridDensity(TwoGaussians(), Grid(bins=200)).kl(pursuit.model) <= 0.035


def test_the_result_is_an_ordinary_network(tmp_path):
    pursuit = pursue(TwoGaussians(), gaussian(), 5)
    model = pursuit.model
    assert [tuple(p.shape) for p in pursuit.network.parameters()] == [
        (5, 2),
        (5,),
        (1, 5),
        (1,),
    ]
    # the partition is exact, the grid has an error of order h**2: 100 to 400 bins
    # divide it by 16, less what cells on a kink do at random
    partition = ReLUPartition.from_network(pursuit.network)
    exact = partition.log_partition(gaussian())
    errors = [
        abs(GridDensity(model, Grid(bins=bins)).log_partition - exact)
        for bins in (100, 400)
    ]
    assert errors[1] < errors[0] / 8
    assert partition.n_regions > 5
    # Langevin chains that start from exact samples keep their mean energy; its standard
    # error is that of a difference of 500 values
    grid = GridDensity(model, Grid(bins=100))
    generator = torch.Generator().manual_seed(0)
    start = grid.sample(500, generator=generator).double()
    end = sample(Langevin(0.01), model, start, 20, generator=generator)
    with torch.no_grad():
        moved = end.energy - model.energy(start)
    assert abs(float(moved.mean())) < 5 * float(moved.std()) / math.sqrt(500) + 0.05
    save_models(tmp_path / "m.safetensors", {"pursued": model})
    again = load_models(tmp_path / "m.safetensors")["pursued"]
    assert grid.kl(again) == pytest.approx(0, abs=1e-12)


def test_a_pursuit_can_be_continued_and_led_by_hand():
    def run(n, **options):
        return pursue(TwoGaussians(), gaussian(), n, pool=POOL, grid=GRID, **options)

    whole, part = run(4), run(2)
    torch.testing.assert_close(run(2, resume=part).kl, whole.kl, atol=1e-8, rtol=0)
    by_hand = Filters(torch.tensor([0.3]), torch.tensor([-0.2]))
    led = pursue(TwoGaussians(), gaussian(), 1, pool=by_hand, resume=part)
    assert led.history[-1].angle == pytest.approx(0.3)
    assert len(led.filters) == 3
    assert len(part.filters) == 2
    with pytest.raises(ValueError, match="same data, prior and grid"):
        pursue(CrossLines(), gaussian(), 1, pool=POOL, resume=part)


def test_a_chosen_filter_is_never_chosen_again():
    """Its statistic is matched: a pool of one is used up by one step."""
    pool = Filters(torch.tensor([0.3]), torch.tensor([-0.2]))
    pursuit = pursue(TwoGaussians(), gaussian(), 5, pool=pool, grid=GRID)
    assert len(pursuit.history) == 1
    assert len(pursue(gaussian(), gaussian(), 5, pool=POOL, grid=GRID).history) == 0


def test_refinement_only_raises_the_score():
    plain = pursue(CrossLines(), gaussian(), 1, pool=POOL, grid=GRID)
    fine = pursue(CrossLines(), gaussian(), 1, pool=POOL, grid=GRID, refine=6)
    assert fine.history[0].score >= plain.history[0].score
    for name, most in (("angle", math.pi / 36), ("offset", 0.066)):
        moved = getattr(fine.history[0], name) - getattr(plain.history[0], name)
        assert 0 <= abs(moved) <= most


def test_points_and_their_density_agree_within_sampling_error():
    """The first statistic is a mean of 40,000 independent values: 5 standard errors."""
    x = CrossLines().sample((40_000,), generator=torch.Generator().manual_seed(0))
    by_points = pursue(x, None, 1, pool=POOL, grid=GRID)
    with pytest.raises(ValueError, match="points"):
        _ = by_points.kl
    chosen = by_points.filters
    exact = float(GridDensity(CrossLines(), GRID).expectation(chosen.values))
    error = float(chosen.values(x).std()) / 200
    assert by_points.history[0].statistic == pytest.approx(exact, abs=5 * error)
    model = GridDensity(by_points.model, GRID)
    likelihood = model.log_likelihood(x.double())
    assert float(by_points.log_likelihood[1]) == pytest.approx(likelihood, abs=1e-6)


def test_scores_are_kept_on_request_and_the_prior_is_model_0():
    pursuit = pursue(
        TwoGaussians(), gaussian(), 1, pool=POOL, grid=GRID, keep_scores=True
    )
    assert pursuit.history[0].scores.shape == (len(POOL),)
    nothing = GridDensity(pursuit.after(0), GRID)
    assert nothing.kl(gaussian()) == pytest.approx(0, abs=1e-14)
    with pytest.raises(ValueError, match="at most 1"):
        pursuit.after(2)


class TestFilters:
    def test_a_filter_is_the_distance_beyond_its_line(self):
        filters = Filters(torch.tensor([0.0, math.pi / 2]), torch.tensor([0.2, -0.5]))
        x = torch.tensor([[0.7, -0.9], [0.1, 0.1]])
        expected = torch.tensor([[0.5, 0.0], [0.0, 0.6]], dtype=torch.float64)
        torch.testing.assert_close(filters.values(x), expected, atol=1e-7, rtol=0)

    def test_network_and_filters_undo_each_other(self):
        filters = filter_pool(5, 3)
        c = torch.arange(15, dtype=torch.float64) - 7
        network = filters.network(c)
        x = torch.rand(20, 2, dtype=torch.float64)
        torch.testing.assert_close(network(x)[:, 0], filters.values(x) @ c)
        again = Filters.of(network)
        torch.testing.assert_close(again.directions, filters.directions)
        torch.testing.assert_close(again.offsets, filters.offsets)

    def test_the_pool_is_even_and_symmetric(self):
        pool = filter_pool(4, 3, reach=1.0)
        assert pool.offsets[:3].tolist() == [-0.5, 0.0, 0.5]
        assert len(pool) == 12
        assert len(pool.joined(pool[:2])) == 14

    def test_bad_filters_are_refused(self):
        with pytest.raises(ValueError, match="one length"):
            Filters(torch.zeros(2), torch.zeros(3))
        with pytest.raises(FloatingPointError, match="angles"):
            Filters(torch.tensor([math.nan]), torch.zeros(1))
        with pytest.raises(TypeError, match="slice"):
            filter_pool(2, 2)[0]
        with pytest.raises(ValueError, match="one a filter"):
            filter_pool(2, 2).network(torch.zeros(3))
        with pytest.raises(ValueError, match="direction"):
            Filters.of(filter_pool(2, 2).network(torch.zeros(4)).apply(_zero))


def _zero(module):
    if hasattr(module, "weight"):
        torch.nn.init.zeros_(module.weight)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"n_filters": -1}, ValueError, "n_filters"),
        ({"criterion": "gains"}, ValueError, "Did you mean 'gain'"),
        ({"refine": -1}, ValueError, "refine"),
        ({"tolerance": 0.0}, ValueError, "tolerance"),
        ({"pool": [1, 2]}, TypeError, "pool"),
        ({"grid": 100}, TypeError, "grid"),
        ({"grid": Grid(bins=10, dim=1)}, ValueError, "dim 2"),
        ({"resume": 3}, TypeError, "resume"),
        ({"data": torch.ones(3, 2) * 2}, ValueError, "box"),
        ({"data": torch.ones(3)}, ValueError, "data"),
    ],
)
def test_bad_arguments_are_named(change, error, words):
    arguments = {"data": TwoGaussians(), "prior": gaussian(), "n_filters": 1} | change
    with pytest.raises(error, match=words):
        pursue(**arguments)


def test_a_prior_that_misses_the_data_is_refused():
    from torch.distributions import Independent, Uniform

    corner = Independent(Uniform(torch.zeros(2), torch.ones(2), validate_args=False), 1)
    with pytest.raises(ValueError, match="prior must be positive"):
        pursue(TwoGaussians(), corner, 1, grid=GRID)


def test_a_filter_that_no_data_activate_is_passed_over():
    """Its statistic is 0, which no positive density has."""
    x = torch.rand(100, 2, generator=torch.Generator().manual_seed(0)) * 0.5
    empty = Filters(torch.tensor([math.pi]), torch.tensor([0.5]))
    with pytest.raises(StatisticsNotMatched, match="no data point activates"):
        pursue(x, None, 1, pool=empty, grid=GRID)
    other = empty.joined(Filters(torch.tensor([0.0]), torch.tensor([0.2])))
    assert pursue(x, None, 2, pool=other, grid=GRID).filters.angles.tolist() == [0.0]


def test_a_flat_prior_is_none():
    pursuit = pursue(TwoGaussians(), None, 2, pool=POOL, grid=GRID)
    flat = TiltedEnergy(filter_pool(1, 1).network(torch.zeros(1)))
    start = GridDensity(TwoGaussians(), GRID).kl(flat)
    assert float(pursuit.kl[0]) == pytest.approx(start, abs=1e-12)
