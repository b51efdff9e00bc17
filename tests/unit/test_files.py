"""Files are written whole or not at all, and read back as they were."""

import json

import pytest
import torch

from ebmlib._data import path as shipped
from ebmlib._files import open_tensors, save_tensors, write_json, write_whole

JSON = sorted((shipped("deep_frame/fits.json").parents[1]).glob("*/*.json"))
WRITTEN = [path for path in JSON if path.parent.name != "lab"]


@pytest.mark.parametrize(
    "path", WRITTEN, ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_a_shipped_table_is_in_the_form_that_the_writer_gives_it(path, tmp_path):
    copy = tmp_path / path.name
    write_json(copy, json.loads(path.read_text(encoding="utf-8")))
    assert copy.read_bytes() == path.read_bytes()


def test_floats_keep_six_digits_and_other_values_are_left_alone(tmp_path):
    row = {"a": 1 / 3, "b": [2, 1e-9 / 3], "c": {"d": None, "e": "0.123456789"}}
    write_json(tmp_path / "t.json", [row])
    assert json.loads((tmp_path / "t.json").read_text()) == [
        {"a": 0.333333, "b": [2, 3.33333e-10], "c": {"d": None, "e": "0.123456789"}}
    ]


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path):
    path = tmp_path / "kept"
    path.write_text("old")

    def fail(draft):
        draft.write_text("half")
        raise RuntimeError("no space")

    with pytest.raises(RuntimeError, match="no space"):
        write_whole(path, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    assert path.read_text() == "old"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*away to write t\.json"):
        write_json(tmp_path / "away" / "t.json", [])


def test_tensors_come_back_with_what_was_said_of_them(tmp_path):
    path = tmp_path / "t.safetensors"
    whole = torch.arange(6.0).reshape(2, 3)
    save_tensors(path, {"part": whole[:, ::2], "whole": whole}, sizes=[2, 3])
    with open_tensors(path, "this test") as file:
        assert json.loads(file.metadata()["sizes"]) == [2, 3]
        assert torch.equal(file.get_tensor("part"), whole[:, ::2])
        assert torch.equal(file.get_tensor("whole"), whole)


def test_another_file_is_refused_with_the_name_of_the_writer(tmp_path):
    path = tmp_path / "t.safetensors"
    with (
        pytest.raises(FileNotFoundError, match="no checkpoint at"),
        open_tensors(path, "save_models"),
    ):
        pass
    path.write_text("not tensors")
    with (
        pytest.raises(ValueError, match="was not written by save_models"),
        open_tensors(path, "save_models"),
    ):
        pass
