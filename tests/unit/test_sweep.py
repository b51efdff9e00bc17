"""A sweep is a loop over settings, whoever runs it."""

import pytest
import torch

from ebmlib.sweep import sweep


def run(seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    total = (scale * torch.randn(100, generator=generator)).sum()
    return seed, float(total), torch.get_num_threads()


SETTINGS = [{"seed": 3}, {"seed": 1, "scale": 2.0}, {"seed": 2}]


def test_results_do_not_depend_on_the_number_of_processes():
    one, two = sweep(run, SETTINGS, n_jobs=1), sweep(run, SETTINGS, n_jobs=2)
    assert one == two
    assert [result[0] for result in one] == [3, 1, 2]
    assert [result[2] for result in one + two] == [1] * 6
    assert one[1][1] == run(**SETTINGS[1])[1]


def test_threads_are_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert sweep(run, iter(SETTINGS[:1]), n_jobs=1)[0][2] == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_failing_run_is_heard():
    with pytest.raises(TypeError, match="seeds"):
        sweep(run, [{"seeds": 1}], n_jobs=1)
    assert sweep(run, []) == []
