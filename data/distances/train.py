"""Train what the chapter "Distances that keep their gradient" loads.

    python data/distances/train.py

trains generators of the plane against critics of five kinds, five seeds each, and
writes beside this file ``plane.json``, the settings and measurements of each run, and
``plane.safetensors``, the networks of seed 0 (``NAME/base`` and ``NAME/critic``).  It
takes about eight minutes on one core; seconds in the file are processor seconds.

Each row holds, at the steps ``step``: ``distance``, the exact W1 between 1,000 samples
and 1,000 fresh data; ``modes``, Gaussians with a sample within four standard deviations
of the centre; ``share``, samples that are there; ``gap``, the critic's mean over these
data minus its mean over these samples; ``lipschitz``, the critic's exact Lipschitz
constant on the box, the steepest of its linear pieces; ``slope`` and ``steepest``, mean
and maximum of its slope at 1,000 points between data and samples; ``outside``, the
share of samples off the box; ``at_bound``, the share of weights at the clipping bound
(0 without one). The row named "data" has the distance between two sets of data.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ebmlib._files import write_json
from ebmlib.checkpoint import save_networks
from ebmlib.distributions import Clusters
from ebmlib.energy import mlp
from ebmlib.gan import Generator, critic_gradients, critic_values, train_gan
from ebmlib.metrics import mode_coverage
from ebmlib.partition import ReLUPartition
from ebmlib.sweep import sweep
from ebmlib.transport import wasserstein

HERE = Path(__file__).parent
BOX = (-2.0, 2.0)
TRUTH = Clusters(sd=0.05)
N_JUDGED = 1000
N_STEPS = 2000
WGAN = {"loss": "wasserstein", "critic_steps": 5, "betas": (0.0, 0.9)}
KINDS: dict[str, dict[str, Any]] = {
    "standard": {"loss": "non_saturating", "critic_steps": 1, "betas": (0.5, 0.9)},
    "clip 0.01": WGAN | {"clip": 0.01},
    "clip 0.01 slow": WGAN | {"clip": 0.01, "lr": 1e-4, "base_lr": 1e-3},
    "clip 0.1": WGAN | {"clip": 0.1},
    "penalty": WGAN | {"gradient_penalty": 1.0},
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(n: int, seed: int) -> Tensor:
    return TRUTH.sample((n,), generator=seeded(seed)).float()


def measures(
    base: Generator, critic: nn.Sequential, clip: float | None
) -> dict[str, float]:
    """What a pair of networks is like, against fixed fresh data."""
    data, x = draw(N_JUDGED, 90), base.sample(N_JUDGED, generator=seeded(91))
    near = mode_coverage(x, TRUTH.means, radius=4 * 0.05)
    with torch.no_grad():
        gap = critic_values(critic, data).mean() - critic_values(critic, x).mean()
    pieces = ReLUPartition.from_network(critic, *BOX)
    between = torch.lerp(x, data, torch.rand(N_JUDGED, 1, generator=seeded(92)))
    slopes = critic_gradients(critic, between).norm(dim=1)
    weights = torch.cat([p.detach().flatten() for p in critic.parameters()])
    at_bound = 0.0 if clip is None else (weights.abs() > 0.999 * clip).float().mean()
    return {
        "distance": wasserstein(data, x),
        "modes": near.covered,
        "share": near.share,
        "gap": float(gap),
        "lipschitz": float(pieces.gradients.norm(dim=1).max()),
        "slope": float(slopes.mean()),
        "steepest": float(slopes.max()),
        "outside": float((x.abs() > BOX[1]).any(1).float().mean()),
        "at_bound": float(at_bound),
    }


def run(kind: str, seed: int) -> tuple[dict[str, Any], dict[str, nn.Sequential]]:
    """Train one pair; its row, and the networks."""
    generator = seeded(seed)
    base = Generator(mlp([2, 64, 64, 2], init="torch", generator=generator))
    critic = mlp([2, 64, 64, 1], init="torch", generator=generator)
    setting = {"batch_size": 256, "lr": 1e-3} | KINDS[kind]
    clip = setting.get("clip")
    began = time.process_time()
    history = train_gan(
        base,
        critic,
        draw(10_000, seed),
        n_steps=N_STEPS,
        callbacks={"found": lambda base, critic, step: measures(base, critic, clip)},
        record_every=200,
        generator=seeded(1000 + seed),
        progress=False,
        **setting,
    )
    seconds = time.process_time() - began
    found = history.records["found"]
    row = {"name": kind, "seed": seed, **setting, "n_steps": N_STEPS}
    row |= {"seconds": seconds, "step": history.recorded_steps}
    row |= {key: [each[key] for each in found] for key in found[0]}
    print(kind, seed, f"W1 {row['distance'][-1]:.3f}, {seconds:.0f} s", flush=True)
    return row, {f"{kind}/base": base.network, f"{kind}/critic": critic}


if __name__ == "__main__":
    torch.set_num_threads(1)
    settings = [{"kind": kind, "seed": seed} for kind in KINDS for seed in range(5)]
    results = sweep(run, settings, n_jobs=1)
    floor = [wasserstein(draw(1000, 90), draw(1000, 70 + k)) for k in range(5)]
    rows = [row for row, _ in results] + [{"name": "data", "distance": floor}]
    write_json(HERE / "plane.json", rows)
    networks = {}
    for row, pair in results:
        networks |= pair if row["seed"] == 0 else {}
    save_networks(HERE / "plane.safetensors", networks)
