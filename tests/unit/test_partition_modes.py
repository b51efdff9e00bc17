"""Every mode of a density on a partition, and nothing that is none."""

import math
from collections import Counter

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.distributions import Independent, Laplace, MultivariateNormal, Normal

from ebmlib.energy import TiltedEnergy, gaussian, mlp
from ebmlib.grid import Grid, GridDensity
from ebmlib.partition import ReLUPartition
from ebmlib.partition._modes import find_modes

few = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 10**6)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def bent(seed=0, widths=(2, 8, 6, 1), scale=8.0, activation="relu"):
    network = mlp(list(widths), activation, init="torch", generator=seeded(seed))
    network = network.double()
    with torch.no_grad():
        network[-1].weight.mul_(scale)
    return network


def wavy(seed=0, widths=(2, 16, 16, 1)):
    """A random network with many hills: lines through the box, signs at the output."""
    network = mlp(list(widths), generator=seeded(seed)).double()
    with torch.no_grad():
        network[-1].weight.normal_(0, 3, generator=seeded(seed))
    return network


def by_hand(*layers):
    """A ReLU network with given weights and biases."""
    network = mlp([2, *(len(bias) for _, bias in layers)]).double()
    with torch.no_grad():
        for linear, (weight, bias) in zip(network[::2], layers, strict=True):
            linear.weight.copy_(torch.tensor(weight, dtype=torch.float64))
            linear.bias.copy_(torch.tensor(bias, dtype=torch.float64))
    return network


def normal(mean, sd):
    mean = torch.tensor(mean, dtype=torch.float64)
    return Independent(Normal(mean, torch.full((2,), sd, dtype=torch.float64)), 1)


def modes_of(network, prior=None, low=-1.0, high=1.0):
    return ReLUPartition.from_network(network, low, high).modes(prior)


def around(point, other):
    """``|x - a|`` and ``|y - b|`` as four neurons, and two at the other point."""
    (a, b), (c, d) = point, other
    weight = [[1, 0], [-1, 0], [0, 1], [0, -1], [1, 0], [0, 1]]
    return weight, [-a, a, -b, b, -c, -d]


CROSS = ([[1, 0], [-1, 0], [0, 1], [0, -1]], [0, 0, 0, 0])  # |x|, |y| in halves


# --- by hand -------------------------------------------------------------------------


def test_a_tent_has_one_mode_at_the_corner_of_its_four_planes():
    weight, bias = around((0.25, -0.5), (0.0, 0.0))
    network = by_hand((weight[:4], bias[:4]), ([[-3.0] * 4], [1.5]))
    modes = modes_of(network)
    assert modes.kinds == ("vertex",)
    assert modes.points.tolist() == [[0.25, -0.5]]
    assert modes.values.tolist() == [1.5]
    assert not modes.flat.any()
    assert modes.regions == ((0, 1, 2, 3),)
    assert set(modes.neurons[0]) <= {0, 1, 2, 3}  # two pairs of coincident lines
    assert len(modes.neurons[0]) == 2
    log_z = ReLUPartition.from_network(network).log_partition()
    assert float(modes.log_prob) == pytest.approx(1.5 - log_z, abs=1e-14)


def test_a_plane_has_its_mode_in_a_corner_of_the_box():
    modes = modes_of(by_hand(([[2.0, -1.0]], [0.0])), low=(-1, 0), high=(3, 2))
    assert modes.kinds == ("border",)
    assert modes.points.tolist() == [[3.0, 0.0]]
    assert modes.regions == ((0,),)
    assert modes.neurons == ((),)


def test_a_constant_is_one_plateau():
    modes = modes_of(by_hand(([[0.0, 0.0]], [7.0])))
    assert modes.kinds == ("interior",)
    assert modes.flat.tolist() == [True]
    assert modes.points.tolist() == [[0.0, 0.0]]
    assert modes.values.tolist() == [7.0]


def test_a_level_ridge_is_one_mode_and_not_two_or_a_line_of_them():
    """``-|x|`` is highest on the line x = 0, which runs from border to border and is
    cut by a neuron that does nothing else."""
    first = ([[1, 0], [-1, 0], [0, 1]], [0, 0, -0.25])
    modes = modes_of(by_hand(first, ([[-1.0, -1.0, 0.0]], [0.0])))
    assert modes.kinds == ("edge",)
    assert modes.flat.tolist() == [True]
    assert float(modes.points[0, 0]) == 0
    assert modes.values.tolist() == [0.0]
    assert len(modes.regions[0]) == 2
    assert modes.neurons == ((0,),)


def test_a_sloping_ridge_ends_at_the_border_and_has_no_other_mode():
    """Where the grid's rule sees a line of them, because it steps diagonally."""
    angle = 0.3
    across = [math.cos(angle), math.sin(angle)]
    first = ([across, [-a for a in across], [0.0, 1.0]], [0, 0, 2.0])
    network = by_hand(first, ([[-20.0, -20.0, 0.5]], [0.0]))
    modes = modes_of(network)
    assert modes.kinds == ("border",)
    wanted = [-math.tan(angle), 1.0]
    assert modes.points[0].tolist() == pytest.approx(wanted, abs=1e-14)
    false = GridDensity(TiltedEnergy(network), Grid(bins=200)).modes()
    assert len(false) > 1


def test_a_flat_top_is_a_plateau_and_a_flat_slope_is_none():
    """A truncated tent, then one with a plain beside it that is no maximum."""
    lower = ([[-1.0] * 4], [0.5])  # 1/2 - |x| - |y|
    top = by_hand(CROSS, ([[1.0] * 4], [-0.5]), ([[-4.0]], [2.0]))
    modes = modes_of(top)  # 2 - 4 max(0, |x| + |y| - 1/2)
    assert modes.kinds == ("interior",)
    assert modes.flat.tolist() == [True]
    assert modes.values.tolist() == [2.0]
    assert float(modes.points.abs().sum()) < 0.5
    plain = modes_of(by_hand(CROSS, lower, ([[4.0]], [0.0])))
    assert plain.kinds == ("vertex",)
    assert plain.points.tolist() == [[0.0, 0.0]]


def test_an_interior_mode_stands_where_the_prior_moves_it():
    """``f = g . x``: the mode is at ``sd**2 g`` as long as that is in the box."""
    network = by_hand(([[2.0, -1.0]], [0.3]))
    modes = modes_of(network, normal((0.1, 0.2), 0.5))
    assert modes.kinds == ("interior",)
    assert modes.points[0].tolist() == pytest.approx([0.6, -0.05], abs=1e-15)
    assert modes.regions == ((0,),)
    assert modes.neurons == ((),)
    assert not modes.flat.any()
    wide = modes_of(network, gaussian(sd=10.0))
    assert wide.kinds == ("border",)
    assert wide.points.tolist() == [[1.0, -1.0]]
    half = modes_of(network, normal((0.0, 0.0), 0.8))  # 1.28 leaves the box, -0.64 not
    assert half.kinds == ("border",)
    assert half.points[0].tolist() == pytest.approx([1.0, -0.64], abs=1e-15)


def test_one_ridge_goes_from_edge_to_interior_at_the_variance_the_theory_says():
    """``f = -a |x| - b x``: in the half-planes the Gaussian's maximum is at
    ``sd**2 (-b +- a)``, inside only if ``|b| > a``; else the mode is on the edge."""
    for a, b, kind in ((1.0, 0.9, "edge"), (1.0, 1.1, "interior")):
        first = ([[1.0, 0.0], [-1.0, 0.0]], [0.0, 0.0])
        network = by_hand(first, ([[-a - b, -a + b]], [0.0]))
        modes = modes_of(network, normal((0.0, 0.3), 0.5))
        assert modes.kinds == (kind,)
        x = 0.25 * (a - b) if kind == "interior" else 0.0
        assert modes.points[0].tolist() == pytest.approx([x, 0.3], abs=1e-15)
        assert modes.neurons == (((0,) if kind == "edge" else ()),)
        assert len(modes.regions[0]) == (2 if kind == "edge" else 1)


def test_a_mode_on_an_edge_exactly_at_a_corner_is_one_vertex():
    """A ridge along x = 0 whose highest point is where an idle line crosses it."""
    first = ([[1, 0], [-1, 0], [0, 1]], [0, 0, 0])
    network = by_hand(first, ([[-1.0, -1.0, 0.0]], [0.0]))
    modes = modes_of(network, normal((0.0, 0.0), 0.4))
    assert modes.kinds == ("vertex",)
    assert modes.points.tolist() == [[0.0, 0.0]]


def test_two_peaks_are_sorted_by_height():
    """``relu(1/4 - |x + 1/2|)`` and a higher one at 1/2, times the same in y."""
    first = (
        [[1, 0]] * 6 + [[0, 1], [0, -1]],
        [0.75, 0.5, 0.25, -0.25, -0.5, -0.75, 0, 0],
    )
    hats = [4.0, -8.0, 4.0, 8.0, -16.0, 8.0, -1.0, -1.0]
    modes = modes_of(by_hand(first, ([hats], [0.0])))
    assert modes.kinds[:2] == ("vertex", "vertex")
    assert modes.points[:2].tolist() == [[0.5, 0.0], [-0.5, 0.0]]
    assert modes.values.tolist()[:2] == [2.0, 1.0]
    assert sorted(modes.values.tolist(), reverse=True) == modes.values.tolist()


# --- against search ------------------------------------------------------------------


def log_density(network, prior, x):
    with torch.no_grad():
        value = network(x)[:, 0]
        return value if prior is None else value + prior.log_prob(x)


def rays_rise(partition, prior, h=1e-7):
    """Points from which the density does not fall along every edge that leaves them.

    Only the network is asked. Within a cone between two edges the slope is linear in
    the direction, so the edges decide for all directions.
    """
    start, stop = partition.corners, partition.corners[partition.following]
    start, stop = torch.cat([start, stop]), torch.cat([stop, start])
    origin, end = partition.points[start], partition.points[stop]
    length = (end - origin).norm(dim=1, keepdim=True)
    step = (end - origin) / length * length.clamp_max(2 * h) / 2
    rise = log_density(partition.network, prior, origin + step) - log_density(
        partition.network, prior, origin
    )
    return start[rise > -1e-13].unique()


def edges_with_maxima(partition, prior, h=1e-6):
    """Inner points of edges, by ternary search, that are higher than both sides."""
    inner = partition.edge_neurons >= 0
    low = partition.vertices[inner].clone()
    high = partition.vertices[partition.following[inner]].clone()
    across = (high - low).flip(1) * torch.tensor([1.0, -1.0]).double()
    across = across / across.norm(dim=1, keepdim=True)
    ends = torch.stack([low, high])
    for _ in range(80):
        first, second = (2 * low + high) / 3, (low + 2 * high) / 3
        up = log_density(partition.network, prior, first) < log_density(
            partition.network, prior, second
        )
        low[up], high[~up] = first[up], second[~up]
    x = (low + high) / 2
    value = log_density(partition.network, prior, x)
    is_top = ((x - ends).norm(dim=2) > 1e-5).all(0)
    for side in (h, -h):
        is_top &= log_density(partition.network, prior, x + side * across) < value
    return x[is_top]


@pytest.mark.parametrize("sd", [None, 1.0, 0.3, 0.1])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("widths", [(2, 30, 1), (2, 16, 16, 1), (2, 8, 8, 8, 1)])
def test_the_modes_are_those_of_a_brute_search(sd, seed, widths):
    """Every corner tried along every edge, every edge searched for its maximum."""
    prior = None if sd is None else normal((0.0, 0.0), sd)
    partition = ReLUPartition.from_network(wavy(seed, widths))
    partition.network = wavy(seed, widths)
    modes = partition.modes(prior)
    on_border = (partition.points.abs() == 1).any(1)
    is_top = torch.ones(len(partition.points), dtype=torch.bool)
    is_top[rays_rise(partition, prior)] = False
    flat = modes.flat.tolist()
    kinds = [k for k, plateau in zip(modes.kinds, flat, strict=True) if not plateau]
    points = modes.points[~modes.flat]

    def of(kind):
        return sorted(points[[k == kind for k in kinds]].tolist())

    assert of("vertex") == sorted(partition.points[is_top & ~on_border].tolist())
    corners = sorted(partition.points[is_top & on_border].tolist())
    assert all(corner in of("border") for corner in corners)
    if sd is None:
        assert of("border") == corners
        assert of("edge") == []
        return
    edges = edges_with_maxima(partition, prior)
    assert len(of("edge")) * 2 == len(edges)  # each edge seen from two regions
    if len(edges):
        gap = (edges[:, None] - torch.tensor(of("edge"))).norm(dim=2)
        assert gap.min(1).values.max() < 1e-6
        assert gap.min(0).values.max() < 1e-6


def test_the_brute_search_has_something_to_find():
    """The networks compared above have modes of every kind."""
    kinds = Counter()
    for widths in ((2, 30, 1), (2, 16, 16, 1), (2, 8, 8, 8, 1)):
        for seed in range(4):
            for sd in (None, 1.0, 0.3, 0.1):
                prior = None if sd is None else normal((0.0, 0.0), sd)
                kinds.update(modes_of(wavy(seed, widths), prior).kinds)
    assert all(kinds[kind] >= 5 for kind in ("vertex", "edge", "interior", "border"))


@pytest.mark.parametrize("sd", [None, 1.0, 0.3])
def test_nothing_around_a_mode_is_higher(sd):
    prior = None if sd is None else normal((0.0, 0.0), sd)
    network = wavy(7, (2, 16, 16, 1))
    modes = modes_of(network, prior)
    angles = torch.arange(720, dtype=torch.float64) * (math.tau / 720)
    circle = torch.stack([angles.cos(), angles.sin()], 1)
    top = log_density(network, prior, modes.points)[:, None]
    for radius in (1e-7, 1e-6, 1e-5):
        near = (modes.points[:, None] + radius * circle).clamp(-1, 1)
        heights = log_density(network, prior, near.reshape(-1, 2)).reshape(-1, 720)
        assert (heights <= top + 1e-12).all()


@few
@given(seeds, st.sampled_from([None, 1.0, 0.3, 0.1]))
def test_the_highest_mode_is_the_maximum_of_the_density(seed, sd):
    """No point of a grid is higher, and values are those of the network itself."""
    network = bent(seed)
    prior = None if sd is None else normal((0.0, 0.0), sd)
    modes = modes_of(network, prior)
    height = log_density(network, prior, Grid(bins=150).points.double()).max()
    assert float(modes.values[0]) >= float(height) - 1e-12
    torch.testing.assert_close(
        modes.values, log_density(network, prior, modes.points), rtol=1e-11, atol=1e-11
    )


@few
@given(seeds, st.sampled_from(["relu", "leaky_relu"]))
def test_a_linear_function_has_no_interior_maximum(seed, activation):
    """Under the flat prior only plateaus are inside regions or along edges."""
    modes = modes_of(bent(seed, activation=activation))
    for kind, flat in zip(modes.kinds, modes.flat.tolist(), strict=True):
        assert flat or kind in ("vertex", "border")


@few
@given(seeds, st.floats(0.02, 1.0))
def test_interior_modes_are_exactly_the_regions_that_hold_their_own_maximum(seed, sd):
    """``sd**2 * gradient`` in its own region, found by asking the network where it
    is."""
    partition = ReLUPartition.from_network(bent(seed))
    modes = partition.modes(normal((0.0, 0.0), sd))
    at = sd**2 * partition.gradients
    inside = (at.abs() < 1).all(1)
    own = torch.zeros(partition.n_regions, dtype=torch.bool)
    own[inside] = partition.locate(at[inside]) == inside.nonzero()[:, 0]
    interior = [k == "interior" for k in modes.kinds]
    assert sum(interior) == int(own.sum())
    found = {r[0] for r, i in zip(modes.regions, interior, strict=True) if i}
    assert found == set(own.nonzero()[:, 0].tolist())


@few
@given(seeds, st.floats(0.05, 20.0), st.sampled_from([None, 0.5]))
def test_scaling_a_neuron_leaves_the_modes_where_they_are(seed, factor, sd):
    prior = None if sd is None else normal((0.0, 0.0), sd)
    network = bent(seed)
    before = modes_of(network, prior)
    with torch.no_grad():
        network[0].weight[0] *= factor
        network[0].bias[0] *= factor
        network[2].weight[:, 0] /= factor
    after = modes_of(network, prior)
    assert after.kinds == before.kinds
    torch.testing.assert_close(after.points, before.points, rtol=0, atol=1e-9)
    assert [len(r) for r in after.regions] == [len(r) for r in before.regions]


@pytest.mark.parametrize("sd", [None, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_duplicated_and_dead_neurons_change_no_mode(sd, seed):
    prior = None if sd is None else normal((0.0, 0.0), sd)
    network, wider = wavy(seed, (2, 10, 1)), mlp([2, 23, 1]).double()
    first, last = network[0], network[2]
    with torch.no_grad():  # each twice with half the weight; three that never fire
        wider[0].weight[:20] = first.weight.repeat(2, 1)
        wider[0].bias[:20] = first.bias.repeat(2)
        wider[0].weight[20:], wider[0].bias[20:] = first.weight[:3], -100.0
        wider[2].weight[:, :20] = last.weight.repeat(1, 2) / 2
        wider[2].weight[:, 20:] = 1.0
        wider[2].bias.copy_(last.bias)
    before, after = modes_of(network, prior), modes_of(wider, prior)
    assert after.kinds == before.kinds
    torch.testing.assert_close(after.points, before.points, rtol=0, atol=1e-12)
    torch.testing.assert_close(after.log_prob, before.log_prob, rtol=0, atol=1e-9)


@few
@given(seeds, st.sampled_from([None, 1.0, 0.2]))
def test_what_meets_at_a_mode_contains_it(seed, sd):
    """Regions: the network is affine with their maps there. Neurons: the lines of the
    first layer pass through the point, and two of them meet at a vertex."""
    prior = None if sd is None else normal((0.0, 0.0), sd)
    network = bent(seed)
    partition = ReLUPartition.from_network(network)
    modes = partition.modes(prior)
    log_z = partition.log_partition(prior)
    torch.testing.assert_close(modes.log_prob, modes.values - log_z)
    assert len(modes.points) <= partition.n_regions
    with torch.no_grad():
        value = network(modes.points)[:, 0]
        first = network[0](modes.points)
    for i, (regions, neurons) in enumerate(
        zip(modes.regions, modes.neurons, strict=True)
    ):
        rows = list(regions)
        planes = partition.gradients[rows] @ modes.points[i] + partition.offsets[rows]
        assert planes.tolist() == pytest.approx([float(value[i])] * len(rows), abs=1e-9)
        assert all(abs(float(first[i, n])) < 1e-9 for n in neurons if n < 8)
        if not modes.flat[i]:
            fewest = {"vertex": 2, "edge": 1, "interior": 0, "border": 0}
            assert len(neurons) >= fewest[modes.kinds[i]]


def test_a_correlated_prior_has_its_mode_where_linear_algebra_says():
    covariance = torch.tensor([[0.2, 0.1], [0.1, 0.3]], dtype=torch.float64)
    prior = MultivariateNormal(torch.tensor([0.1, 0.0]).double(), covariance)
    gradient = torch.tensor([0.5, 1.0], dtype=torch.float64)
    modes = modes_of(by_hand(([gradient.tolist()], [0.0])), prior)
    wanted = prior.mean + covariance @ gradient
    torch.testing.assert_close(modes.points[0], wanted, rtol=0, atol=1e-14)


def test_narrow_priors_make_modes_interior_and_wide_ones_do_not():
    """The variance decides whether "almost no mode is interior" holds: over networks,
    the share goes from below a tenth to above a half."""
    share = []
    for sd in (2.0, 0.05):
        kinds = Counter()
        for seed in range(8):
            kinds.update(modes_of(wavy(seed), normal((0.0, 0.0), sd)).kinds)
        share.append(kinds["interior"] / kinds.total())
    assert share[0] < 0.1
    assert share[1] > 0.5


def test_other_priors_are_refused():
    prior = Independent(Laplace(torch.zeros(2), torch.ones(2)), 1)
    with pytest.raises(TypeError, match="modes needs a flat or a normal prior"):
        find_modes(ReLUPartition.from_network(bent()), prior)
