"""Critics against known log-ratios, losses against formulas, the loop's manners."""

import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ebmlib.distributions import GaussianMixture
from ebmlib.energy import mlp
from ebmlib.fit import TrainingDiverged
from ebmlib.gan import (
    Generator,
    critic_gradients,
    critic_values,
    gradient_penalty,
    objective,
    train_gan,
)
from ebmlib.grid import Grid, GridDensity
from ebmlib.metrics import kl


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Identity(nn.Module):
    """A generator's network that shifts its latent points: its density is known."""

    def __init__(self, shift=(0.0, 0.0), scale=1.0):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))
        self.scale = scale

    def forward(self, z):
        return self.scale * z + self.shift


values = st.lists(st.floats(-30, 30), min_size=1, max_size=8).map(
    lambda v: torch.tensor(v, dtype=torch.float64)
)


@settings(deadline=None)
@given(values, values)
def test_the_losses_are_their_formulas(real, fake):
    d_real, d_fake = torch.sigmoid(real), torch.sigmoid(fake)
    value = d_real.log().mean() + (torch.sigmoid(-fake)).log().mean()
    expected = {
        "minimax": (-value, torch.sigmoid(-fake).log().mean()),
        "non_saturating": (-value, -d_fake.log().mean()),
        "wasserstein": (fake.mean() - real.mean(), -fake.mean()),
        "kale": (fake.exp().mean() - real.mean() - 1, -fake.exp().mean()),
    }
    close = {"rtol": 1e-12, "atol": math.exp(-20)}
    for name, (critic, base) in expected.items():
        losses = objective(name)
        # above 20 PyTorch's softplus(v) is v itself, exp(-20) = 2e-9 too small
        torch.testing.assert_close(losses.critic(real, fake), critic, **close)
        torch.testing.assert_close(losses.base(fake), base, **close)


@pytest.mark.parametrize("logit", [-12.0, -3.0, 0.0, 3.0])
def test_the_minimax_generator_learns_least_where_its_samples_are_rejected(logit):
    d = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
    slope = {}
    for name in ("minimax", "non_saturating"):
        (slope[name],) = torch.autograd.grad(objective(name).base(d), d)
    probability = 1 / (1 + math.exp(-logit))
    # d/dd log(1 - D) = -D and d/dd (-log D) = -(1 - D)
    assert slope["minimax"].item() == pytest.approx(-probability, rel=1e-12)
    assert slope["non_saturating"].item() == pytest.approx(probability - 1, rel=1e-12)


def test_an_optimal_discriminator_knows_the_log_ratio():
    """Trained on two known densities, the logit is log q - log p, to its noise.

    The same critic is trained to the end on samples of both.  With n samples of each,
    the maximum-likelihood logit of a model with k parameters is off by about
    sqrt(k / n) root mean square under the mixture; here the model is quadratic and
    holds the exact log-ratio of two Gaussians of one width, so nothing else is wrong.
    """
    n, sd = 40_000, 0.3
    q = GaussianMixture([[0.2, 0.0]], sd)
    base = Generator(Identity((-0.1, 0.1), sd), "gaussian", latent_dim=2)

    class Quadratic(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(5, 1).double()
            nn.init.zeros_(self.linear.weight)
            nn.init.zeros_(self.linear.bias)

        def forward(self, x):
            a, b = x.double().T
            return self.linear(torch.stack([a, b, a * a, a * b, b * b], 1))

    critic = Quadratic()
    data = q.sample((n,), generator=seeded()).float()
    options = {"train_base": False, "schedule": "cosine", "progress": False}
    train_gan(
        base,
        critic,
        data,
        "non_saturating",
        1500,
        lr=0.05,
        betas=(0.9, 0.99),
        batch_size=2000,
        generator=seeded(1),
        **options,
    )
    grid = Grid(-1.5, 1.5, 100)
    mean = base.network.shift.detach().double()
    p = GaussianMixture([mean.tolist()], sd)
    exact = q.log_prob(grid.points) - p.log_prob(grid.points)
    with torch.no_grad():
        found = critic_values(critic, grid.points)
    mixture = 0.5 * (GridDensity(q, grid).prob + GridDensity(p, grid).prob)
    error = float((mixture * (found - exact).square()).sum().sqrt())
    # the last batches weigh most: with the cosine's average over about a third of the
    # steps, 500 batches of 2,000 stand for more than the n = 40,000 rows of data
    noise = math.sqrt(6 / n) * 2  # D (1 - D) is about 1/4: twice the standard error
    assert error < 3 * noise
    assert float((mixture * exact.square()).sum().sqrt()) > 20 * error


def test_kale_is_below_the_divergence_and_tight_at_the_log_ratio():
    grid = Grid(-1, 1, 120)
    q = GridDensity(GaussianMixture([[-0.2, 0.0]], 0.2), grid)
    p = GridDensity(GaussianMixture([[0.1, 0.1]], 0.25), grid)
    exact = kl(q, p)
    ratio = q.log_prob - p.log_prob

    def bound(d):
        """The objective's negative, with the exact means over both densities."""
        return float((q.prob * d).sum() - (p.prob * d.exp()).sum() + 1)

    assert bound(ratio) == pytest.approx(exact, rel=1e-12)
    for seed in range(20):
        wrong = ratio + torch.randn(ratio.shape, generator=seeded(seed)).double()
        assert bound(wrong) < exact
    d = torch.tensor([0.3, -1.0])
    assert -objective("kale").critic(d, d) == pytest.approx(
        float(d.mean() - d.exp().mean() + 1)
    )


@settings(deadline=None)
@given(
    st.lists(st.floats(-3, 3), min_size=2, max_size=2),
    st.integers(0, 1000),
)
def test_the_penalty_of_an_affine_critic_is_known(weight, seed):
    critic = nn.Linear(2, 1).double()
    with torch.no_grad():
        critic.weight.copy_(torch.tensor([weight], dtype=torch.float64))
    x = torch.randn(7, 2, generator=seeded(seed), dtype=torch.float64)
    y = torch.randn(7, 2, generator=seeded(seed + 1), dtype=torch.float64)
    found = gradient_penalty(critic, x, y, generator=seeded(2))
    expected = (math.hypot(*weight) - 1) ** 2
    assert found.item() == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_the_penalty_is_that_of_autograd_by_hand():
    critic = mlp([2, 6, 5, 1], "tanh", init="torch", generator=seeded()).double()
    x, y = torch.randn(2, 9, 2, generator=seeded(1), dtype=torch.float64)
    share = torch.rand(9, generator=seeded(3), dtype=torch.float64)[:, None]
    total = 0
    for point in share * x + (1 - share) * y:
        point = point.clone().requires_grad_()
        value = critic(point[None])[0, 0]
        (slope,) = torch.autograd.grad(value, point, create_graph=True)
        total = total + (slope.square().sum().sqrt() - 1) ** 2 / 9
    found = gradient_penalty(critic, x, y, generator=seeded(3))
    torch.testing.assert_close(found, total, rtol=1e-12, atol=0)
    wanted = torch.autograd.grad(total, critic[0].weight)
    got = torch.autograd.grad(found, critic[0].weight)
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-14)


def test_the_penalty_lies_between_rows_of_images_too():
    seen = []

    class Spy(nn.Module):
        def forward(self, x):
            seen.append(x.detach())
            return x.flatten(1).sum(1)

    real, fake = torch.ones(50, 1, 2, 2), torch.zeros(50, 1, 2, 2)
    found = gradient_penalty(Spy(), real, fake, generator=seeded())
    assert float(found) == pytest.approx((2 - 1) ** 2)  # the gradient is four ones
    share = seen[0].flatten(1)
    assert torch.equal(share.min(1).values, share.max(1).values)
    assert len(share[:, 0].unique()) == 50
    assert 0 <= float(share.min()) < float(share.max()) <= 1


def test_gradients_of_a_critic():
    class Half(nn.Module):
        def forward(self, x):
            return x.square().sum(1, keepdim=True) / 2

    x = torch.randn(5, 3, generator=seeded())
    torch.testing.assert_close(critic_gradients(Half(), x), x)
    assert not x.requires_grad


@pytest.mark.parametrize("latent", ["uniform", "gaussian"])
def test_latent_points_have_the_prior_that_is_stated(latent):
    base = Generator(mlp([2, 3, 2], init="torch", generator=seeded()), latent)
    z = base.sample_latent(20_000, generator=seeded(1))
    assert z.shape == (20_000, 2)
    assert base.latent_dim == 2
    expected = 1 / 3 if latent == "uniform" else 1.0
    fourth = 1 / 5 if latent == "uniform" else 3.0
    error = math.sqrt((fourth - expected**2) / len(z))
    assert torch.allclose(z.square().mean(0), torch.tensor(expected), atol=5 * error)
    known = base.log_prior(z[:3])
    if latent == "uniform":
        torch.testing.assert_close(known, torch.full((3,), -math.log(4)))
        assert base.log_prior(torch.tensor([[1.01, 0.0]])).item() == -math.inf
    else:
        torch.testing.assert_close(
            known, -z[:3].square().sum(1) / 2 - math.log(2 * math.pi)
        )
    assert torch.equal(
        base.sample(4, generator=seeded(3)),
        base(base.sample_latent(4, generator=seeded(3))),
    )


@pytest.mark.parametrize("loss", ["minimax", "non_saturating", "wasserstein", "kale"])
def test_every_loss_moves_a_generator_to_the_data(loss):
    """The one parameter of the generator is a shift, and the data say which.

    The players of a game circle round their equilibrium; a critic that is trained ten
    times as fast keeps the circle small.  The data's mean is known to
    0.2 / sqrt(4000) = 0.003, which a tenth of the shift leaves far behind.
    """
    data = torch.randn(4000, 2, generator=seeded()) * 0.2 + torch.tensor([0.5, -0.3])
    base = Generator(Identity(scale=0.2), "gaussian", latent_dim=2)
    critic = mlp([2, 16, 1], "tanh", init="torch", generator=seeded(1))
    before, began = torch.random.get_rng_state(), time.perf_counter()
    history = train_gan(
        base,
        critic,
        data,
        loss,
        600,
        critic_steps=3,
        lr=0.01,
        base_lr=0.005,
        gradient_penalty=1.0 if loss == "wasserstein" else None,
        schedule="cosine",
        callbacks={"shift": lambda base, critic, step: base.network.shift.tolist()},
        record_every=250,
        generator=seeded(2),
        progress=False,
    )
    assert torch.equal(before, torch.random.get_rng_state())
    off = (base.network.shift.detach() - data.mean(0)).norm()
    assert float(off) < 0.06
    assert history.n_steps == len(history.base_loss) == len(history.base_grad_norm)
    assert len(history.critic_grad_norm) == 600
    assert len(history.penalty) == (600 if loss == "wasserstein" else 0)
    assert history.recorded_steps == [0, 250, 500, 600]
    assert history.records["shift"][0] == [0, 0]
    assert history.records["shift"][-1] == base.network.shift.tolist()
    assert 0 < history.seconds < time.perf_counter() - began


def small(seed=0, **options):
    base = Generator(mlp([2, 4, 2], init="torch", generator=seeded(seed)))
    critic = mlp([2, 4, 1], init="torch", generator=seeded(seed + 1))
    data = torch.randn(50, 2, generator=seeded(seed + 2))
    options = {"generator": seeded(seed + 3), "progress": False} | options
    return base, critic, data, options


def test_a_seed_repeats_a_run_and_the_critic_alone_leaves_the_generator():
    runs = []
    for _ in range(2):
        base, critic, data, options = small()
        history = train_gan(base, critic, data, "non_saturating", 5, **options)
        runs.append((history.critic_loss, history.base_loss))
    assert runs[0] == runs[1]
    base, critic, data, options = small(train_base=False)
    weights = [p.clone() for p in base.parameters()]
    history = train_gan(base, critic, data, "kale", 5, **options)
    assert all(map(torch.equal, weights, base.parameters()))
    assert history.base_loss == [] and history.n_steps == 5


def test_clipping_holds_the_parameters_in_their_box():
    base, critic, data, options = small(clip=0.05, lr=0.1)
    train_gan(base, critic, data, "wasserstein", 20, **options)
    values = torch.cat([p.detach().ravel() for p in critic.parameters()])
    assert float(values.abs().max()) <= float(torch.tensor(0.05))
    for border in (-0.05, 0.05):  # some lie on either side
        assert bool(torch.isclose(values, torch.tensor(border)).any())


def test_one_step_is_the_gradient_of_the_losses():
    """Adam's first step is the learning rate times the gradient's sign."""
    base, critic, data, options = small(batch_size=20, lr=0.01)
    old = [p.detach().clone() for p in critic.parameters()]
    state = options["generator"].get_state()
    history = train_gan(base, critic, data, "minimax", 1, train_base=False, **options)
    rng = torch.Generator()
    rng.set_state(state)
    real = data[torch.randint(len(data), (20,), generator=rng)]
    fake = base.sample(20, generator=rng)
    for p, value in zip(critic.parameters(), old, strict=True):
        p.data, moved = value.clone().requires_grad_(), p.detach() - value
        p.moved = moved
    loss = objective("minimax").critic(critic(real)[:, 0], critic(fake)[:, 0])
    gradients = torch.autograd.grad(loss, list(critic.parameters()))
    assert history.critic_loss == [pytest.approx(loss.item(), rel=1e-6)]
    norm = torch.cat([g.ravel() for g in gradients]).norm().item()
    assert history.critic_grad_norm == [pytest.approx(norm, rel=1e-5)]
    for p, gradient in zip(critic.parameters(), gradients, strict=True):
        large = gradient.abs() > 1e-5
        torch.testing.assert_close(
            p.moved[large], -0.01 * gradient.sign()[large], rtol=1e-2, atol=0
        )


def test_a_loss_that_is_not_finite_is_raised_before_anything_changes():
    base, critic, data, options = small(critic_steps=2)
    with torch.no_grad():
        critic[-1].bias.fill_(1e4)  # exp overflows
    weights = [p.detach().clone() for p in critic.parameters()]
    with pytest.raises(TrainingDiverged, match="the critic's loss is inf") as caught:
        train_gan(base, critic, data, "kale", 3, **options)
    assert caught.value.history.n_steps == 0
    assert all(map(torch.equal, weights, critic.parameters()))

    class Steep(nn.Module):
        """Samples whose gradient is infinite, though they are finite."""

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, z):
            return (self.linear(z) * 0).sqrt() + z

    base = Generator(Steep())
    _, critic, data, options = small()
    with pytest.raises(TrainingDiverged, match=r"the generator's loss is .* norm nan"):
        train_gan(base, critic, data, "wasserstein", 3, **options)


def test_bad_arguments_are_named():
    base, critic, data, options = small()
    for changed, error, message in [
        ({"loss": "hinge"}, ValueError, r"unknown loss 'hinge'"),
        ({"base": critic}, TypeError, r"base must be an ebmlib\.gan\.Generator, got S"),
        ({"critic": abs}, TypeError, r"critic must be an nn\.Module"),
        ({"data": data.numpy()}, TypeError, r"data must be a torch\.Tensor"),
        ({"data": data * math.nan}, FloatingPointError, r"data"),
        ({"data": data[:0]}, ValueError, r"data must have shape \(n, \.\.\.\) with n"),
        ({"data": data[:, :1]}, ValueError, r"samples, \(n, 2\), got \(50, 1\)"),
        ({"data": data.double()}, TypeError, r"float32 on cpu, got torch\.float64"),
        ({"n_steps": 0}, ValueError, r"n_steps"),
        ({"critic_steps": 0}, ValueError, r"critic_steps"),
        ({"clip": -1.0}, ValueError, r"clip must be positive"),
        ({"gradient_penalty": 0.0}, ValueError, r"gradient_penalty must be positive"),
        ({"base_lr": -1.0}, ValueError, r"base_lr must be positive"),
        ({"schedule": "step"}, ValueError, r"unknown schedule"),
        ({"callbacks": [1]}, TypeError, r"callbacks must map names to functions"),
        ({"critic": nn.Linear(2, 2)}, ValueError, r"to \(256,\) or \(256, 1\), got"),
        ({"critic": nn.Identity()}, ValueError, r"critic must have a parameter"),
    ]:
        call = {"base": base, "critic": critic, "data": data, "loss": "kale"}
        call |= {"n_steps": 2} | options | changed
        with pytest.raises(error, match=message):
            train_gan(**call)
    with pytest.raises(ValueError, match="unknown latent"):
        Generator(base.network, "cauchy")
    with pytest.raises(ValueError, match="latent_dim must be given"):
        Generator(nn.ConvTranspose2d(3, 1, 4))
    with pytest.raises(TypeError, match=r"network must be an nn\.Module"):
        Generator(abs)
    with pytest.raises(ValueError, match="real and fake must have one shape"):
        gradient_penalty(critic, data, data[1:])
