"""A restricted Boltzmann machine beside scikit-learn's: an epoch, and a likelihood.

    EBM_MNIST=folder OMP_NUM_THREADS=1 python benchmarks/rbm.py [--rounds 3]

1. The exact log Z of 20 hidden and 784 visible units, and the memory that it takes.
2. One epoch on 50,000 thresholded MNIST images in batches of 100, at 20 and at 500
   hidden units: persistent contrastive divergence in both, one Gibbs step an update.
3. The time until the exact likelihood of the test images, with 20 hidden units, is as
   good as scikit-learn's best in 30 epochs, at the best of its settings that the
   chapter tries: batches of 10, learning rate 0.01.

The rounds are interleaved. Times are the processor's, not the clock's; what measures
the likelihood is not counted.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
import sklearn
import sklearn.neural_network
import torch

from ebmlib import images
from ebmlib.rbm import BernoulliRBM

N_TRAIN, SIZE = 50_000, 100


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def seconds(run: Callable[[], object]) -> float:
    """Seconds of the processor."""
    began = time.process_time()
    run()
    return time.process_time() - began


def epochs(train: torch.Tensor, n_hidden: int, rounds: int) -> None:
    """Print the best and the median time of an epoch."""
    rows = train.numpy()

    def ours() -> None:
        model = BernoulliRBM(784, n_hidden, generator=seeded())
        model.fit(train, 1, batch_size=SIZE, generator=seeded(), progress=False)

    def theirs() -> None:
        sklearn.neural_network.BernoulliRBM(
            n_hidden, learning_rate=0.05, batch_size=SIZE, n_iter=1, random_state=0
        ).fit(rows)

    times: dict[str, list[float]] = {"ebmlib": [], "scikit-learn": []}
    for _ in range(rounds):
        times["ebmlib"].append(seconds(ours))
        times["scikit-learn"].append(seconds(theirs))
    ratio = np.array(times["ebmlib"]) / np.array(times["scikit-learn"])
    for name, values in times.items():
        print(
            f"{n_hidden:4d} hidden  {name:12s}  best {min(values):6.2f} s   "
            f"median {np.median(values):6.2f} s"
        )
    print(f"{n_hidden:4d} hidden  ratio a round, median {np.median(ratio):.2f}")


def likelihood(model: BernoulliRBM, test: torch.Tensor) -> float:
    return float(model.log_likelihood(test).mean())


def theirs_best(
    train: torch.Tensor, test: torch.Tensor, n_epochs: int
) -> tuple[float, float]:
    """scikit-learn's best exact likelihood, and the seconds until then."""
    rows, spent, best = train.numpy(), 0.0, (-np.inf, 0.0)
    machine = sklearn.neural_network.BernoulliRBM(
        20, learning_rate=0.01, batch_size=10, random_state=np.random.RandomState(0)
    )
    model = BernoulliRBM(784, 20, generator=seeded())

    def epoch() -> None:
        for start in range(0, len(rows), 10):
            machine.partial_fit(rows[start : start + 10])

    for done in range(1, n_epochs + 1):
        spent += seconds(epoch)
        if done > 3 and done % 5 and done < n_epochs:
            continue
        values = (
            machine.components_,
            machine.intercept_visible_,
            machine.intercept_hidden_,
        )
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), values, strict=True):
                parameter.copy_(torch.from_numpy(value))
        found = likelihood(model, test)
        best = max(best, (found, spent))
        print(f"  scikit-learn, epoch {done:2d}: {found:8.2f}")
    return best


def ours_until(
    train: torch.Tensor, test: torch.Tensor, goal: float
) -> tuple[float, float]:
    """Our likelihood at the first epoch that reaches the goal, and the seconds."""
    model = BernoulliRBM(784, 20, generator=seeded())
    spent, found, history, g = 0.0, -np.inf, None, seeded(1)
    while found < goal:
        began = time.process_time()
        history = model.fit(train, 1, resume=history, generator=g, progress=False)
        spent += time.process_time() - began
        found = likelihood(model, test)
        print(f"  ebmlib, epoch {history.n_epochs:2d}: {found:8.2f}")
    return found, spent


def main() -> None:
    """Print the three comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, scikit-learn {sklearn.__version__}, one thread")

    model = BernoulliRBM(784, 20, weight_sd=0.3, generator=seeded())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    times = [seconds(model.log_partition) for _ in range(arguments.rounds)]
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"exact log Z, 20 x 784: best {min(times):.2f} s; "
        f"peak memory of the process {after / 1024:.0f} MB, {before / 1024:.0f} before"
    )

    train, test = (images.load("mnist", split).rows() for split in images.SPLITS)
    train = train[:N_TRAIN]
    for n_hidden in (20, 500):
        epochs(train, n_hidden, arguments.rounds)
    if arguments.epochs:
        goal, long = theirs_best(train, test, arguments.epochs)
        found, short = ours_until(train, test, goal)
        print(f"scikit-learn: {goal:.2f} after {long:.1f} s")
        print(
            f"ebmlib: {found:.2f} after {short:.1f} s, {long / short:.0f} times sooner"
        )


if __name__ == "__main__":
    main()
