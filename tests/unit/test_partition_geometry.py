"""The regions of ReLU networks, held against counting, grids and autograd.

Random networks have continuous weights, so that they are in general position; what is
not in general position is tested by name.
"""

import itertools
import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from ebmlib.energy import TiltedEnergy, mlp
from ebmlib.partition import ReLUPartition
from ebmlib.partition._geometry import _without_spare_zeros
from ebmlib.partition._lookup import deepest, depths

few = settings(max_examples=25, deadline=None)
WIDTHS = [[2, 9, 1], [2, 8, 7, 1], [2, 6, 6, 6, 1], [2, 5, 5, 5, 5, 1]]
BOXES = [(-1.0, 1.0), (0.25, 3.0), ((-1.0, 0.5), (2.0, 0.75))]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_network(seed, widths, slope=0.0):
    """All weights and biases normal, so that no two lines meet by design."""
    network = mlp(widths, "leaky_relu" if slope else "relu", generator=seeded(seed))
    for module in network:
        if slope and isinstance(module, nn.LeakyReLU):
            module.negative_slope = slope
    generator = seeded(seed + 1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return network.double()


def one_layer(weights, biases, out=None):
    """A network of one hidden layer with the given lines, and output weights 1."""
    weights = torch.tensor(weights, dtype=torch.float64)
    network = mlp([2, len(weights), 1]).double()
    with torch.no_grad():
        network[0].weight.copy_(weights)
        network[0].bias.copy_(torch.tensor(biases, dtype=torch.float64))
        network[2].weight.fill_(1.0) if out is None else network[2].weight.copy_(
            torch.tensor([out], dtype=torch.float64)
        )
    return network


def pre_activations(network, x):
    """Pre-activations of all hidden layers in a row, from the modules themselves."""
    parts = []
    with torch.no_grad():
        for module in list(network)[:-1]:
            x = module(x)
            if isinstance(module, nn.Linear):
                parts.append(x)
    return torch.cat(parts, 1)


def patterns_at(network, x):
    return pre_activations(network, x) > 0


def known_patterns(partition):
    return torch.cat(partition.patterns, 1)


def by_pattern(partition):
    """Region of each pattern, as a dictionary of our own."""
    return {row.numpy().tobytes(): i for i, row in enumerate(known_patterns(partition))}


def random_points(partition, n, seed=0):
    x = torch.rand(n, 2, dtype=torch.float64, generator=seeded(seed))
    return partition.low + x * (partition.high - partition.low)


def value_on(partition, region, x):
    return (partition.gradients[region] * x).sum(1) + partition.offsets[region]


def arrays(partition):
    parts = (partition.vertices, partition.following, partition.starts)
    return [part.numpy() for part in parts]


def depth_in(partition, x, region):
    """Distance of each point from the border of its region; negative outside."""
    return depths(x.numpy(), *arrays(partition))[np.arange(len(x)), region.numpy()]


def check_tiling(partition):
    """What must hold for every partition, in general position or not."""
    size = partition.high - partition.low
    assert partition.areas.sum().item() == pytest.approx(
        size.prod().item(), rel=1e-12, abs=0
    )
    assert partition.areas.min() > 0
    # convex and counter-clockwise: every turn is to the left, but for rounding
    v, after = partition.vertices, partition.following
    side = v[after] - v
    turn = side[:, 0] * side[after][:, 1] - side[:, 1] * side[after][:, 0]
    assert turn.min() >= -1e-12 * size.prod()
    # Euler: points - edges + regions = 1, where inner edges have two sides
    border = partition.edge_neurons < 0
    edges = len(partition.neighbours) + int(border.sum())
    assert 2 * len(partition.neighbours) + int(border.sum()) == len(v)
    assert len(partition.points) - edges + partition.n_regions == 1
    # no two regions have the same pattern
    if partition.patterns:
        assert len(by_pattern(partition)) == partition.n_regions


partitions = st.builds(
    lambda seed, widths, slope, box: (random_network(seed, widths, slope), box),
    st.integers(0, 10_000),
    st.sampled_from(WIDTHS),
    st.sampled_from([0.0, 0.01, 0.3]),
    st.sampled_from(BOXES),
)


class TestRandomNetworks:
    @few
    @given(partitions)
    def test_polygons_tile_the_box(self, made):
        network, box = made
        partition = ReLUPartition.from_network(network, *box)
        check_tiling(partition)
        assert len(partition.polygons) == partition.n_regions
        assert partition.vertices.min(0).values.tolist() == partition.low.tolist()
        assert partition.vertices.max(0).values.tolist() == partition.high.tolist()

    @few
    @given(partitions, st.integers(0, 100))
    def test_every_pattern_met_is_a_regions_and_the_region_holds_the_point(
        self, made, seed
    ):
        network, box = made
        partition = ReLUPartition.from_network(network, *box)
        x = random_points(partition, 4000, seed)
        known = by_pattern(partition)
        mine = [known[row.numpy().tobytes()] for row in patterns_at(network, x)]
        region = partition.locate(x)
        assert region.tolist() == mine
        # a point on a border is off by rounding only: the pre-activation's, 1e-15 of
        # its scale, over the slope across the line, which random weights keep > 1e-3
        assert depth_in(partition, x, region).min() > -1e-11

    @few
    @given(partitions)
    def test_affine_maps_agree_with_forward_and_autograd(self, made):
        network, box = made
        partition = ReLUPartition.from_network(network, *box)
        x = torch.cat([partition.centroids, random_points(partition, 500)])
        x.requires_grad_(True)
        f = network(x)[:, 0]
        (gradient,) = torch.autograd.grad(f.sum(), x)
        region = partition.locate(x)
        assert region[: partition.n_regions].tolist() == list(
            range(partition.n_regions)
        )
        # float64 rounding of sums of at most 9 products a layer over 5 layers
        scale = 1 + f.detach().abs().max() + gradient.abs().max()
        close = {"rtol": 0, "atol": 1e-12 * scale.item()}
        torch.testing.assert_close(partition.gradients[region], gradient, **close)
        torch.testing.assert_close(
            value_on(partition, region, x.detach()), f.detach(), **close
        )

    @pytest.mark.parametrize("widths", WIDTHS)
    def test_every_pattern_of_a_fine_grid_is_exact_and_large_regions_are_seen(
        self, widths
    ):
        network = random_network(3, widths)
        partition = ReLUPartition.from_network(network)
        step = 2 / 600
        axis = -1 + step * (torch.arange(600, dtype=torch.float64) + 1 / math.e)
        x = torch.cartesian_prod(axis, axis)
        known = by_pattern(partition)
        met = patterns_at(network, x).unique(dim=0)
        regions = {known[row.numpy().tobytes()] for row in met}
        # a disc of radius above step / sqrt 2 holds a point of the grid
        radius = torch.from_numpy(
            np.diag(depths(partition.centroids.numpy(), *arrays(partition))).copy()
        )
        seen_surely = (radius > step / math.sqrt(2)).nonzero()[:, 0].tolist()
        assert set(seen_surely) <= regions
        assert len(seen_surely) > partition.n_regions / 3

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 10_000), st.integers(1, 25), st.sampled_from(BOXES))
    def test_one_layer_counts_lines_and_crossings(self, seed, width, box):
        network = random_network(seed, [2, width, 1])
        partition = ReLUPartition.from_network(network, *box)
        low, high = partition.low.numpy(), partition.high.numpy()
        weight = network[0].weight.detach().numpy()
        bias = network[0].bias.detach().numpy()
        corners = np.array(list(itertools.product(*zip(low, high, strict=True))))
        at_corners = corners @ weight.T + bias
        lines = int(((at_corners > 0).any(0) & (at_corners < 0).any(0)).sum())
        crossings = 0
        for i, j in itertools.combinations(range(width), 2):
            point = np.linalg.solve(weight[[i, j]], -bias[[i, j]])
            crossings += bool(((point > low) & (point < high)).all())
        assert partition.n_regions == 1 + lines + crossings

    def test_leaky_relu_has_the_regions_of_relu_in_one_layer(self):
        plain = random_network(5, [2, 12, 1])
        leaky = random_network(5, [2, 12, 1], slope=0.2)
        a, b = map(ReLUPartition.from_network, (plain, leaky))
        assert torch.equal(a.vertices, b.vertices)
        assert not torch.equal(a.gradients, b.gradients)


class TestInvariance:
    @few
    @given(st.integers(0, 10_000), st.sampled_from(WIDTHS))
    def test_scaling_a_neuron_and_undoing_it_changes_nothing(self, seed, widths):
        network = random_network(seed, widths)
        before = ReLUPartition.from_network(network)
        factors = torch.exp(3 * torch.randn(widths[1], generator=seeded(seed)))
        with torch.no_grad():
            network[0].weight.mul_(factors[:, None])
            network[0].bias.mul_(factors)
            network[2].weight.div_(factors)
        self.check_same(before, ReLUPartition.from_network(network))

    @few
    @given(st.integers(0, 10_000), st.sampled_from(WIDTHS))
    def test_the_order_of_the_neurons_does_not_matter(self, seed, widths):
        network = random_network(seed, widths)
        before = ReLUPartition.from_network(network)
        order = torch.randperm(widths[1], generator=seeded(seed))
        with torch.no_grad():
            network[0].weight.copy_(network[0].weight[order])
            network[0].bias.copy_(network[0].bias[order])
            network[2].weight.copy_(network[2].weight[:, order])
        after = ReLUPartition.from_network(network)
        self.check_same(before, after)
        match = after.locate(before.centroids)
        assert torch.equal(after.patterns[0][match], before.patterns[0][:, order])

    @staticmethod
    def check_same(before, after):
        match = after.locate(before.centroids)
        assert match.sort().values.tolist() == list(range(before.n_regions))
        close = {"rtol": 1e-9, "atol": 1e-11}
        torch.testing.assert_close(after.areas[match], before.areas, **close)
        torch.testing.assert_close(after.gradients[match], before.gradients, **close)

    def test_float32_parameters_are_taken_exactly(self):
        network = random_network(1, [2, 8, 8, 1]).float()
        single = ReLUPartition.from_network(network)
        double = ReLUPartition.from_network(network.double())
        assert torch.equal(single.vertices, double.vertices)
        assert torch.equal(single.gradients, double.gradients)
        assert single.vertices.dtype == single.gradients.dtype == torch.float64


def turned(n, seed=1):
    """Unit normals of n lines at random angles."""
    angle = math.pi * np.random.default_rng(seed).random(n)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


class TestAwkwardNetworks:
    def check(self, network, n_regions, **box):
        partition = ReLUPartition.from_network(network, **box)
        check_tiling(partition)
        assert partition.n_regions == n_regions
        x = random_points(partition, 500)
        with torch.no_grad():
            f = network(x)[:, 0]
        found = value_on(partition, partition.locate(x), x)
        scale = f.abs().max().item() + partition.gradients.abs().max().item()
        torch.testing.assert_close(found, f, rtol=0, atol=1e-11 * scale)
        return partition

    def test_no_hidden_layer(self):
        partition = self.check(
            mlp([2, 1], init="torch", generator=seeded()).double(), 1
        )
        assert partition.patterns == () and partition.widths == ()
        assert partition.boundary_counts().tolist() == [0]
        assert partition.activity() == ()
        assert partition.neighbours.shape == (0, 2)

    def test_all_dead(self):
        partition = self.check(one_layer(turned(5), [-10.0] * 5), 1)
        assert not partition.patterns[0].any()
        assert partition.gradients.tolist() == [[0, 0]]
        assert partition.activity()[0].dead.tolist() == [0, 1, 2, 3, 4]

    def test_all_active(self):
        partition = self.check(one_layer(turned(5), [10.0] * 5), 1)
        assert partition.patterns[0].all()
        assert partition.activity()[0].always.tolist() == [0, 1, 2, 3, 4]

    def test_dead_layer_after_a_living_one(self):
        network = random_network(0, [2, 6, 4, 1])
        alone = ReLUPartition.from_network(network)
        with torch.no_grad():
            network[2].bias.fill_(-1e6)
        partition = ReLUPartition.from_network(network)
        check_tiling(partition)
        assert 1 < partition.n_regions < alone.n_regions
        assert not partition.gradients.any()

    @pytest.mark.parametrize("factor", [1.0, 3.0, 0.1, -1.0, -0.7, 1e8, -1e-8])
    def test_duplicated_neurons(self, factor):
        lines, shifts = turned(6), np.linspace(-0.5, 0.5, 6)
        single = self.check(
            one_layer(lines, shifts), 1 + 6 + self.crossings(lines, shifts)
        )
        double = self.check(
            one_layer(
                np.concatenate([lines, factor * lines]),
                np.concatenate([shifts, factor * shifts]),
            ),
            single.n_regions,
        )
        assert torch.equal(single.vertices, double.vertices)
        first, second = double.patterns[0].split(6, 1)
        assert torch.equal(first, second == (factor > 0))
        assert double.edge_neurons.max() == 5  # the first of the two is named

    @staticmethod
    def crossings(lines, shifts):
        count = 0
        for i, j in itertools.combinations(range(len(lines)), 2):
            point = np.linalg.solve(lines[[i, j]], -shifts[[i, j]])
            count += bool((np.abs(point) < 1).all())
        return count

    def test_duplicates_in_a_deeper_layer(self):
        network = random_network(0, [2, 6, 6, 1])
        with torch.no_grad():
            network[2].weight[3:] = 0.3 * network[2].weight[:3]
            network[2].bias[3:] = 0.3 * network[2].bias[:3]
        without = nn.Sequential(*network)
        with torch.no_grad():
            thin = mlp([2, 6, 3, 1]).double()
            thin[0].load_state_dict(without[0].state_dict())
            thin[2].weight.copy_(network[2].weight[:3])
            thin[2].bias.copy_(network[2].bias[:3])
        self.check(network, ReLUPartition.from_network(thin).n_regions)

    def test_parallel_lines(self):
        shifts = np.linspace(-0.9, 0.9, 10)
        partition = self.check(one_layer([[0.6, 0.8]] * 10, shifts), 11)
        assert partition.boundary_counts().sort().values.tolist() == [1, 1] + [2] * 9

    def test_almost_parallel_lines_make_a_thin_wedge(self):
        partition = self.check(one_layer([[0, 1], [1e-9, 1]], [0.0, 0.0]), 4)
        thin = partition.areas.sort().values[:2]  # triangles, base 1 and height 1e-9
        assert thin.tolist() == pytest.approx([5e-10, 5e-10], rel=1e-5)

    def test_lines_through_the_corners_of_the_box(self):
        partition = self.check(one_layer([[1, 1]], [0.0]), 2)
        assert partition.lengths.tolist() == [3, 3]
        partition = self.check(one_layer([[1, 1], [1, -1]], [0.0, 0.0]), 4)
        assert partition.areas.tolist() == [1, 1, 1, 1]
        # one that only touches a corner cuts nothing
        self.check(one_layer([[1, 1]], [2.0]), 1)

    def test_lines_through_the_corners_of_regions(self):
        # two axes, then a diagonal through their crossing
        self.check(one_layer([[1, 0], [0, 1], [1, -1]], [0.0, 0.0, 0.0]), 6)

    @pytest.mark.parametrize("n", [3, 8, 40])
    @pytest.mark.parametrize("scale", [1.0, 1e-8, 1e8])
    def test_lines_through_a_common_point(self, n, scale):
        lines = turned(n)
        shifts = -lines @ np.array([0.1, 1 / 3])
        partition = self.check(one_layer(scale * lines, scale * shifts), 2 * n)
        # all wedges meet in one stored point
        at = (partition.points - torch.tensor([0.1, 1 / 3])).norm(dim=1) < 1e-6
        assert at.sum() == 1
        assert (partition.corners == at.nonzero()[0, 0]).sum() == 2 * n

    @pytest.mark.parametrize("side", [[1, 0], [-1, 0], [0, 1], [0, -1]])
    def test_lines_along_the_border_of_the_box(self, side):
        outward = self.check(one_layer([side], [-1.0]), 1)
        inward = self.check(one_layer([side], [1.0]), 1)
        assert outward.patterns[0].tolist() == [[False]]
        assert inward.patterns[0].tolist() == [[True]]

    def test_neurons_with_zero_weights(self):
        lines = [[0, 0], [0, 0], [0, 0], [1, 0.5]]
        partition = self.check(one_layer(lines, [0.0, 1.0, -1.0, 0.2]), 2)
        assert partition.patterns[0][:, :3].tolist() == [[False, True, False]] * 2

    def test_a_plateau_where_every_neuron_of_a_layer_is_off(self):
        # without biases the second layer is zero on the plateau, exactly
        network = random_network(2, [2, 3, 5, 1])
        with torch.no_grad():
            network[0].weight.copy_(torch.tensor([[1.0, 0], [0.6, 0.8], [0.6, -0.8]]))
            network[0].bias.fill_(-0.1)
            network[2].bias.zero_()
        partition = ReLUPartition.from_network(network)
        check_tiling(partition)
        off = (~partition.patterns[0].any(1)).nonzero()[:, 0]
        assert len(off) == 1
        assert not partition.patterns[1][off].any()
        assert partition.gradients[off].tolist() == [[0, 0]]

    @pytest.mark.parametrize("scale", [1e-8, 1e8])
    def test_tiny_and_huge_weights(self, scale):
        network = random_network(4, [2, 10, 8, 1])
        plain = ReLUPartition.from_network(network)
        with torch.no_grad():
            network[0].weight.mul_(scale)
            network[0].bias.mul_(scale)
            network[2].bias.mul_(scale)
        partition = self.check(network, plain.n_regions)
        torch.testing.assert_close(partition.areas, plain.areas, rtol=1e-9, atol=1e-12)

    def test_a_dead_neuron_with_a_huge_weight_does_not_blunt_the_others(self):
        network = random_network(6, [2, 8, 8, 1])
        plain = ReLUPartition.from_network(network)
        assert plain.n_regions > 30
        wide = mlp([2, 9, 8, 1]).double()
        with torch.no_grad():
            wide[0].weight[:8], wide[0].bias[:8] = network[0].weight, network[0].bias
            wide[0].weight[8], wide[0].bias[8] = 1e12, -1e13
            wide[2].weight[:, :8], wide[2].bias[:] = network[2].weight, network[2].bias
            wide[4].load_state_dict(network[4].state_dict())
        self.check(wide, plain.n_regions)

    def test_a_lattice_with_many_coincidences(self):
        # both diagonals of every square of a lattice, and its lines
        offsets = np.arange(-3, 4) / 4
        kinds = [[1, 0], [0, 1], [1, 1], [1, -1]]
        lines = np.repeat(kinds, 7, 0)
        partition = self.check(one_layer(lines, np.tile(offsets, 4)), self.lattice())
        assert partition.areas.unique().numel() <= 8

    @settings(max_examples=60, deadline=None)
    @given(st.integers(0, 10_000), st.sampled_from(WIDTHS), st.sampled_from([0, 0.5]))
    def test_weights_of_few_values_coincide_everywhere(self, seed, widths, slope):
        """Duplicates, dead and constant neurons, and lines through corners at once."""
        network = random_network(seed, widths, slope)
        generator = seeded(seed)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.copy_(
                    torch.randint(-2, 3, parameter.shape, generator=generator) / 4
                )
        partition = ReLUPartition.from_network(network)
        check_tiling(partition)
        x = random_points(partition, 2000, seed)
        # where the layers' sums cancel, the sign of what is left is rounding's
        value = pre_activations(network, x)
        clear = ((value == 0) | (value.abs() > 1e-12)).all(1)
        known = by_pattern(partition)
        assert all(row.numpy().tobytes() in known for row in value[clear] > 0)
        region = partition.locate(x)
        assert depth_in(partition, x, region).min() > -1e-11
        f = network(x).detach()[:, 0]
        scale = 1 + f.abs().max().item()
        found = value_on(partition, region, x)
        torch.testing.assert_close(found, f, rtol=0, atol=1e-12 * scale)

    def test_an_edge_as_short_as_the_tolerance(self):
        """Both ends of the edge count as on the fourth line, which crosses it."""
        d = 2.2e-12
        lines = [[1, 0], [0, 1], [-1, 1], [-0.5, 1]]
        partition = ReLUPartition.from_network(one_layer(lines, [0, 0, -d, -d / 2]))
        check_tiling(partition)
        short = (partition.vertices[partition.following] - partition.vertices).norm(
            dim=1
        )
        assert 0 < short.min() < 4e-12
        assert 8 <= partition.n_regions <= 11  # from concurrent to general position

    @pytest.mark.parametrize(
        ("sides", "kept"),
        [
            ("+0-0", "+0-0"),
            ("+00-0", "+0--0"),
            ("+000--0", "+0----0"),
            ("0+00-0", "++0--0"),
            ("+0+0-0", "+++0-0"),
            ("0+0-", "0+0-"),
        ],
    )
    def test_one_zero_is_kept_at_each_change_of_sides(self, sides, kept):
        code = {"0": 0, "+": 1, "-": 2}
        side = np.array([code[c] for c in sides * 2], np.uint8)
        length = np.array([len(sides)] * 2)
        cleaned = _without_spare_zeros(side, length)
        assert cleaned.tolist() == [code[c] for c in kept * 2]

    @staticmethod
    def lattice():
        """Count the lattice's patterns at the centres of its finest triangles."""
        n = 16  # half of the smallest distance between two corners of the lattice
        axis = -1 + (np.arange(8 * n) + 0.5) * (2 / (8 * n))
        x, y = np.meshgrid(axis, axis + 1e-4)
        offsets = np.arange(-3, 4) / 4
        kinds = (x, y, x + y, x - y)
        code = [np.stack([kind + o > 0 for o in offsets]).sum(0) for kind in kinds]
        return len(np.unique(np.stack(code).reshape(4, -1), axis=1).T)


class TestNeighbours:
    def test_against_the_grid(self):
        """Between cells of a fine grid, bisection finds pairs of regions that touch."""
        network = random_network(8, [2, 10, 8, 1])
        partition = ReLUPartition.from_network(network)
        known = by_pattern(partition)

        def regions(x):
            return np.array(
                [known[r.numpy().tobytes()] for r in patterns_at(network, x)]
            )

        axis = torch.linspace(-1, 1, 151, dtype=torch.float64)
        x = torch.cartesian_prod(axis, axis).reshape(151, 151, 2)
        found = set()
        for a, b in ((x[1:], x[:-1]), (x[:, 1:], x[:, :-1])):
            a, b = a.reshape(-1, 2), b.reshape(-1, 2)
            region_a, region_b = regions(a), regions(b)
            apart = region_a != region_b
            a, b = a[apart], b[apart]
            region_a, region_b = region_a[apart], region_b[apart]
            for _ in range(40):  # to the resolution of the numbers
                middle = (a + b) / 2
                region = regions(middle)
                same = torch.from_numpy(region == region_a)[:, None]
                a, b = torch.where(same, middle, a), torch.where(same, b, middle)
                region_b = np.where(same[:, 0], region_b, region)
            pairs = np.sort(np.stack([region_a, region_b], 1))
            found |= set(map(tuple, pairs.tolist()))
        exact = set(map(tuple, partition.neighbours.tolist()))
        assert found <= exact
        # an edge with an extent of two cells along an axis is crossed by the grid
        edge = partition.shared_edges[:, 0]
        extent = (
            partition.vertices[partition.following[edge]] - partition.vertices[edge]
        )
        long = extent.abs().amax(1) > 2 * (axis[1] - axis[0])
        assert set(map(tuple, partition.neighbours[long].tolist())) <= found
        assert long.sum() > 50

    @few
    @given(partitions)
    def test_across_an_edge_exactly_its_neuron_flips(self, made):
        network, box = made
        partition = ReLUPartition.from_network(network, *box)
        a, b = partition.neighbours.T
        assert (a < b).all()
        neuron = partition.edge_neurons[partition.shared_edges]
        assert torch.equal(neuron[:, 0], neuron[:, 1])
        flips = known_patterns(partition)[a] ^ known_patterns(partition)[b]
        assert flips.sum(1).tolist() == [1] * len(flips)
        assert torch.equal(flips.int().argmax(1), neuron[:, 0])

    @few
    @given(partitions)
    def test_both_sides_see_the_same_edge_and_f_is_continuous(self, made):
        network, box = made
        partition = ReLUPartition.from_network(network, *box)
        one, two = partition.shared_edges.T
        corner, after = partition.corners, partition.following
        assert torch.equal(corner[one], corner[after[two]])
        assert torch.equal(corner[two], corner[after[one]])
        x = partition.vertices[one]
        left, right = (value_on(partition, r, x) for r in partition.neighbours.T)
        scale = 1 + left.abs().max().item() + partition.gradients.abs().max().item()
        torch.testing.assert_close(left, right, rtol=0, atol=1e-11 * scale)

    def test_the_border_of_the_box_is_named(self):
        partition = ReLUPartition.from_network(random_network(0, [2, 9, 1]), -2, 3)
        begin = partition.vertices
        end = begin[partition.following]
        for name, (axis, value) in enumerate([(1, -2), (0, 3), (1, 3), (0, -2)], 1):
            on = (begin[:, axis] == value) & (end[:, axis] == value)
            assert torch.equal(partition.edge_neurons == -name, on)
            assert on.any()


class TestBoundary:
    def test_lie_on_the_lines_of_the_neurons(self):
        network = random_network(1, [2, 7, 6, 1])
        partition = ReLUPartition.from_network(network)
        inner = (partition.edge_neurons >= 0).nonzero()[:, 0]
        ends = torch.stack([inner, partition.following[inner]])
        middle = partition.vertices[ends].mean(0)
        hidden = network[0](middle)
        values = torch.cat([hidden, network[2](network[1](hidden))], 1)
        at = values.gather(1, partition.edge_neurons[inner][:, None])
        assert at.abs().max() < 1e-11

    def test_counts_agree_with_the_lists(self):
        partition = ReLUPartition.from_network(random_network(1, [2, 7, 6, 1]))
        counts = partition.boundary_counts()
        for region in range(partition.n_regions):
            neurons = partition.boundary_neurons(region)
            assert neurons.tolist() == sorted(set(neurons.tolist()))
            assert len(neurons) == counts[region]
            pairs = partition.neighbours[(partition.neighbours == region).any(1)]
            assert len(pairs) == counts[region]

    def test_layers_of_neurons(self):
        partition = ReLUPartition.from_network(random_network(1, [2, 3, 1, 2, 1]))
        layer, place = partition.layer_of(torch.arange(6))
        assert layer.tolist() == [0, 0, 0, 1, 2, 2]
        assert place.tolist() == [0, 1, 2, 0, 0, 1]
        assert partition.layer_of(torch.arange(0))[0].tolist() == []
        for wrong in (-1, 6):
            with pytest.raises(ValueError, match="neurons must be between 0 and 5"):
                partition.layer_of(torch.tensor([wrong]))


class TestGroups:
    def partition(self):
        """Some 150 regions, whose first lines all pass through the box."""
        network = mlp([2, 12, 8, 1], generator=seeded(9)).double()
        with torch.no_grad():
            network[2].bias.copy_(torch.randn(8, generator=seeded(1)) / 2)
            network[4].weight.copy_(torch.randn(1, 8, generator=seeded(2)))
        return ReLUPartition.from_network(network)

    def test_one_region_is_bounded_by_its_own_boundary_neurons(self):
        partition = self.partition()
        for region in range(0, partition.n_regions, 7):
            group = partition.region_group(region)
            assert group.regions.tolist() == [region]
            assert torch.equal(
                group.boundary_neurons, partition.boundary_neurons(region)
            )
            assert torch.equal(
                group.segment_neurons.unique(), partition.boundary_neurons(region)
            )

    def test_everything_has_no_outside(self):
        partition = self.partition()
        group = partition.region_group(torch.ones(partition.n_regions).bool())
        assert len(group.regions) == partition.n_regions
        assert group.boundary_neurons.numel() == group.segments.numel() == 0
        assert partition.region_group([]).regions.numel() == 0

    def test_the_outer_boundary_encloses_the_area(self):
        """Green: the area is an integral along the boundary, walked with it left."""
        partition = self.partition()
        inner = partition.region_group(ball=((0.1, -0.2), 0.2))
        begin, end = inner.segments.unbind(1)
        area = (begin[:, 0] * end[:, 1] - begin[:, 1] * end[:, 0]).sum() / 2
        assert inner.regions.numel() > 5
        border = partition.edge_neurons[
            torch.isin(partition.corner_regions, inner.regions)
        ]
        assert (border >= 0).all()  # or a part of the boundary would be the box's
        assert area.item() == pytest.approx(
            partition.areas[inner.regions].sum().item(), rel=1e-12
        )

    @pytest.mark.parametrize("radius", [0.0, 0.05, 0.4])
    def test_a_ball_meets_the_regions_that_its_points_lie_in(self, radius):
        partition = self.partition()
        centre = torch.tensor([0.3, 0.2], dtype=torch.float64)
        group = set(partition.region_group(ball=(centre, radius)).regions.tolist())
        r = radius * torch.linspace(0, 1, 200, dtype=torch.float64).sqrt()
        angle = torch.linspace(0, 2 * math.pi, 721, dtype=torch.float64)
        r, angle = torch.cartesian_prod(r, angle).T
        x = centre + torch.stack([r * angle.cos(), r * angle.sin()], 1)
        assert set(partition.locate(x).tolist()) <= group
        # and no others: each has a point on its border or inside that is near enough
        t = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None, None]
        begin = partition.vertices
        edge = begin + t * (begin[partition.following] - begin)
        distance = (edge - centre).norm(dim=2).amin(0)
        own = partition.locate(centre[None]).item()
        step = 2 * math.sqrt(2) / 2000
        for region in group - {own}:
            assert distance[partition.corner_regions == region].min() <= radius + step

    def test_level_set(self):
        partition = self.partition()
        x = random_points(partition, 20_000)
        f = value_on(partition, partition.locate(x), x)
        level = f.quantile(0.9).item()
        group = partition.region_group(level=level)
        reached = torch.zeros(partition.n_regions).bool()
        reached[partition.locate(x[f >= level])] = True
        chosen = torch.zeros(partition.n_regions).bool()
        chosen[group.regions] = True
        assert (chosen | ~reached).all()  # all in which a point reaches the level
        missed = chosen & ~reached  # and slivers of others, between the points
        assert partition.areas[missed].sum() < 0.1 * partition.areas[chosen].sum()
        everything = partition.region_group(level=f.min().item() - 1e6)
        assert len(everything.regions) == partition.n_regions

    def test_components(self):
        partition = ReLUPartition.from_network(
            one_layer([[1, 0]] * 4, [-0.5, -0.1, 0.3, 0.6])
        )
        order = partition.centroids[:, 0].argsort()
        pieces = partition.components(order[[0, 1, 3]])
        found = sorted(sorted(piece.tolist()) for piece in pieces)
        assert found == sorted([sorted(order[:2].tolist()), [order[3].item()]])
        mask = torch.ones(partition.n_regions).bool()
        assert [len(piece) for piece in partition.components(mask)] == [5]
        assert partition.components([]) == ()

    def test_pieces_that_touch_in_a_point_are_apart(self):
        partition = ReLUPartition.from_network(one_layer([[1, 0], [0, 1]], [0.0, 0.0]))
        opposite = partition.locate(torch.tensor([[-0.5, -0.5], [0.5, 0.5]]))
        assert len(partition.components(opposite)) == 2

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({}, ValueError, "exactly one of regions, ball and level"),
            ({"regions": [0], "level": 1.0}, ValueError, "exactly one"),
            ({"regions": [-1]}, ValueError, "regions must be between 0 and"),
            ({"regions": 10_000}, ValueError, "regions must be between 0 and"),
            ({"regions": torch.rand(3)}, TypeError, "indices or a mask of shape"),
            ({"regions": [True, False]}, TypeError, "indices or a mask of shape"),
            ({"ball": ((0.0, 0.0), -1.0)}, ValueError, "radius of the ball"),
            ({"ball": ((0.0, 0.0, 0.0), 1.0)}, ValueError, "centre of the ball"),
            ({"level": math.nan}, ValueError, "level must be finite"),
        ],
    )
    def test_wrong_arguments(self, arguments, error, message):
        with pytest.raises(error, match=message):
            self.partition().region_group(**arguments)


class TestActivity:
    def test_by_hand(self):
        # active for x > 0.5 (a quarter), for y > 0 (half), never, always
        network = one_layer([[1, 0], [0, 1], [1, 0], [0, 1]], [-0.5, 0.0, -2.0, 3.0])
        (layer,) = ReLUPartition.from_network(network).activity()
        assert layer.neurons.tolist() == [0.25, 0.5, 0, 1]
        assert layer.histogram.tolist() == [0, 0.375, 0.5, 0.125, 0]
        assert layer.mean == 1.75 / 4
        assert (layer.dead.tolist(), layer.always.tolist()) == ([2], [3])

    def test_weights_stand_for_area(self):
        partition = ReLUPartition.from_network(random_network(0, [2, 70, 8, 1]))
        region = partition.locate(torch.zeros(1, 2))
        weights = torch.zeros(partition.n_regions)
        weights[region] = 5.0
        for layer, pattern in zip(
            partition.activity(weights), partition.patterns, strict=True
        ):
            assert torch.equal(layer.neurons, pattern[region[0]].double())
            assert layer.histogram[pattern[region[0]].sum()] == 1
        for layer in partition.activity():
            width = len(layer.neurons)
            counts = torch.arange(width + 1, dtype=torch.float64)
            assert layer.histogram.sum().item() == pytest.approx(1, rel=1e-12)
            mean = (layer.histogram @ counts).item() / width
            assert layer.mean == pytest.approx(mean, rel=1e-12)
            assert layer.mean == pytest.approx(layer.neurons.mean().item(), rel=1e-12)

    @pytest.mark.parametrize(
        ("weights", "error"),
        [
            (torch.ones(3), ValueError),
            (torch.zeros(2), ValueError),
            (torch.tensor([-1.0, 2.0]), ValueError),
            (torch.tensor([math.nan, 1.0]), ValueError),
            ([1.0, 1.0], TypeError),
        ],
    )
    def test_wrong_weights(self, weights, error):
        partition = ReLUPartition.from_network(one_layer([[1, 0]], [0.0]))
        with pytest.raises(error, match="weights"):
            partition.activity(weights)


class TestLocate:
    def test_on_a_line_the_neuron_counts_as_inactive(self):
        partition = ReLUPartition.from_network(one_layer([[1, 0]], [0.0]))
        region = partition.locate(torch.tensor([[0.0, 0.3], [0.0, -1.0]]))
        assert not partition.patterns[0][region].any()

    def test_patterns_that_are_no_regions_go_to_the_region_around(self):
        """Rounding lets two neurons with the same line disagree on it."""
        lines = turned(6)
        shifts = np.linspace(-0.4, 0.4, 6)
        network = one_layer(
            np.concatenate([lines, -0.7 * lines]),
            np.concatenate([shifts, -0.7 * shifts]),
        )
        partition = ReLUPartition.from_network(network)
        t = torch.linspace(0, 1, 50, dtype=torch.float64)[:, None, None]
        begin = partition.vertices
        x = (begin + t * (begin[partition.following] - begin)).reshape(-1, 2)
        known = by_pattern(partition)
        lost = [row.numpy().tobytes() not in known for row in patterns_at(network, x)]
        assert sum(lost) > 10  # or this would test nothing
        assert depth_in(partition, x, partition.locate(x)).min() > -1e-14

    def test_all_polygons_tried_in_turn_agree(self):
        partition = ReLUPartition.from_network(random_network(0, [2, 9, 9, 1]))
        x = random_points(partition, 3000)
        found = torch.from_numpy(deepest(x.numpy(), *arrays(partition)))
        clear = torch.from_numpy(depth_in(partition, x, found)) > 1e-9
        assert torch.equal(found[clear], partition.locate(x)[clear])
        assert clear.sum() > 2990

    def test_many_points_in_parts(self):
        partition = ReLUPartition.from_network(random_network(0, [2, 9, 1]))
        x = random_points(partition, 2000)
        whole = partition.locate(x)
        partition._table.step = 7
        assert torch.equal(partition.locate(x), whole)
        assert partition.locate(x[:0]).shape == (0,)

    def test_the_corners_of_the_box_are_inside(self):
        partition = ReLUPartition.from_network(random_network(0, [2, 9, 1]), 0, 3)
        x = torch.tensor([[0.0, 0.0], [3.0, 0.0], [3.0, 3.0], [0.0, 3.0]])
        region = partition.locate(x)
        assert depth_in(partition, x.double(), region).min() >= -1e-14

    def test_points_outside(self):
        partition = ReLUPartition.from_network(random_network(0, [2, 9, 1]))
        with pytest.raises(
            ValueError, match=r"1 of 2 points outside it, the first in row 1"
        ):
            partition.locate(torch.tensor([[0.0, 0.0], [0.0, 1.5]]))
        with pytest.raises(ValueError, match="x must have shape"):
            partition.locate(torch.zeros(3))


class TestArguments:
    def test_other_activations_are_refused(self):
        with pytest.raises(ValueError, match=r"got Tanh: f would not be affine"):
            ReLUPartition.from_network(mlp([2, 4, 1], "tanh"))

    def test_a_model_is_not_its_network(self):
        with pytest.raises(TypeError, match=r"got TiltedEnergy; pass model.network"):
            ReLUPartition.from_network(TiltedEnergy(mlp([2, 4, 1])))
        with pytest.raises(TypeError, match="got Linear"):
            ReLUPartition.from_network(nn.Linear(2, 1))

    @pytest.mark.parametrize("widths", [[3, 4, 1], [2, 4, 2], [1, 1]])
    def test_the_plane_to_numbers(self, widths):
        with pytest.raises(ValueError, match="2 inputs and 1 output, got"):
            ReLUPartition.from_network(mlp(widths))

    def test_layers_out_of_turn(self):
        for layers in (
            [nn.Linear(2, 3), nn.ReLU()],
            [nn.Linear(2, 3), nn.ReLU(), nn.Flatten()],
            [],
        ):
            with pytest.raises(ValueError, match="network must be affine layers"):
                ReLUPartition.from_network(nn.Sequential(*layers))

    def test_layers_without_bias(self):
        network = nn.Sequential(
            nn.Linear(2, 4, bias=False), nn.ReLU(), nn.Linear(4, 1, bias=False)
        )
        partition = ReLUPartition.from_network(network)
        assert partition.n_regions == 8  # four lines through the origin
        assert not partition.offsets.any()

    def test_parameters_that_are_not_finite(self):
        network = mlp([2, 4, 1])
        with torch.no_grad():
            network[0].bias[1] = math.nan
        with pytest.raises(FloatingPointError, match=r"parameter 0.bias"):
            ReLUPartition.from_network(network)

    def test_pre_activations_that_overflow(self):
        network = random_network(0, [2, 4, 4, 1])
        with torch.no_grad():
            network[0].weight.fill_(1e200)
            network[2].weight.fill_(1e200)
        with pytest.raises(FloatingPointError, match="neuron 4 overflows float64"):
            ReLUPartition.from_network(network)

    @pytest.mark.parametrize(
        ("low", "high", "error", "message"),
        [
            (1.0, -1.0, ValueError, "low must be below high"),
            ((0.0, 1.0), (1.0, 1.0), ValueError, r"low\[1\] must be below high\[1\]"),
            ((0.0, 0.0, 0.0), 1.0, ValueError, "low must be a number or a pair"),
            ("ab", 1.0, TypeError, "low must be a real number"),
            (-math.inf, 1.0, ValueError, "low must be finite"),
        ],
    )
    def test_boxes(self, low, high, error, message):
        with pytest.raises(error, match=message):
            ReLUPartition.from_network(mlp([2, 4, 1]), low, high)

    def test_box_as_tensors_and_repr(self):
        low = torch.tensor([-1.0, 0.0])
        partition = ReLUPartition.from_network(mlp([2, 1]), low, 2.0)
        assert repr(partition) == (
            "ReLUPartition(n_regions=1, widths=(), low=[-1.0, 0.0], high=[2.0, 2.0])"
        )
        assert partition.areas.tolist() == [6.0]
        points, regions = partition.triangles
        assert points.shape == (2, 3, 2)
        assert regions.tolist() == [0, 0]
