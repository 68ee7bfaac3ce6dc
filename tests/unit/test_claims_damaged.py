"""Records and kept results of claims that are damaged or edited, and odd arguments of learners."""

import json

import numpy as np
import pytest
import torch

from scdlab import claims, files
from scdlab.claims import kept
from scdlab.claims import record as records

ID = "ecse-cost"


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """The content of a record, in a folder of its own."""
    content = json.loads(records.record_path(ID, "cpu").read_text(encoding="utf-8"))
    monkeypatch.setattr(records, "RECORDS", tmp_path)
    return content


def write(content, sign=True):
    if sign and isinstance(content, dict):
        content["digest"] = files.content_digest(content)
    text = content if isinstance(content, str) else json.dumps(content)
    records.record_path(ID, "cpu").write_text(text, encoding="utf-8")


def refused() -> str:
    with pytest.raises(ValueError) as caught:
        claims.compare(ID)
    message = str(caught.value)
    assert "\n" not in message and "scdlab claims run ecse-cost --profile cpu" in message
    return message


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", "5", '"x"', "{}", "[" * 100_000, '{"a": NaN}', '{"a":1,"a":2}']
)
def test_what_is_no_record_is_one_sentence(shipped, text):
    write(text)
    refused()


@pytest.mark.parametrize("value", [None, 5, "x", [], [1], {}, {"a": 1}, True, [[]], [None]])
@pytest.mark.slow
def test_an_entry_of_another_type_is_one_sentence(shipped, value):
    for name in records.Record.__dataclass_fields__:
        numbers = isinstance(value, int | float) and name == "seconds"
        if name != "digest" and type(shipped[name]) is not type(value) and not numbers:
            write(shipped | {name: value})
            refused()


def test_a_number_of_one_seed_cannot_be_changed(shipped):
    write(shipped, sign=False)
    claims.compare(ID)
    name = next(iter(shipped["values"][0]))
    shipped["values"][0][name] += 1.0
    write(shipped, sign=False)
    assert "edited by hand" in refused()
    write(shipped)
    assert "summary disagrees" in refused()
    shipped["values"][0][name] = "1"
    write(shipped)
    assert "no finite number" in refused()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: text.replace("1.5", "1.6"), "digest"),
        (lambda text: text.replace('"values"', '"volues"'), "digest"),
        (lambda text: text[:-20], "no readable"),
        (lambda text: "null", "no readable"),
    ],
)
def test_a_kept_result_is_checked(change, complaint, tmp_path):
    path = tmp_path / "seed0.json"
    kept.write_kept(path, {"values": {"x": 1.5}, "seconds": 2})
    kinds = {"values": dict, "seconds": float}
    assert kept.read_kept(path, kinds)["values"] == {"x": 1.5}
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ValueError, match=complaint) as caught:
        kept.read_kept(path, kinds)
    assert "remove it" in str(caught.value)


def test_a_kept_result_without_an_entry_is_refused(tmp_path):
    kept.write_kept(tmp_path / "seed0.json", {"values": []})
    with pytest.raises(ValueError, match="has no values"):
        kept.read_kept(tmp_path / "seed0.json", {"values": dict})


@pytest.mark.parametrize(
    "yours",
    [[1, 2], object(), 1j, torch.ones(2), np.ones(3), {"turned_ecse_meV": [1]}, {1: 2}],
)
def test_a_value_of_yours_that_is_no_number_is_one_sentence(yours):
    with pytest.raises((TypeError, ValueError)) as caught:
        claims.compare(ID, yours)
    assert caught.traceback[-1].path.name == "show.py" and "\n" not in str(caught.value)


def test_odd_numbers_of_yours_are_shown():
    for yours in (np.float32(1), torch.tensor(2.0), float("nan"), float("inf"), True, "1 ± 2"):
        assert claims.compare(ID, yours).rows


@pytest.mark.parametrize("name", [None, 5, [], {}, ID.encode()])
def test_a_claim_is_named_by_text(name):
    for call in (claims.compare, claims.run, claims.get):
        with pytest.raises(TypeError, match="named by text"):
            call(name)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        (dict(seeds=5), TypeError, "seeds"),
        (dict(seeds=["a"]), ValueError, "'a'"),
        (dict(seeds=[[0]]), ValueError, "seeds"),
        (dict(seeds=[]), ValueError, "seeds"),
        (dict(profile=["quick"]), ValueError, "profile"),
        (dict(device="tpu"), ValueError, "tpu"),
    ],
)
def test_wrong_arguments_of_a_run_are_one_sentence(options, kind, words, tmp_path):
    with pytest.raises(kind, match=words):
        claims.run(ID, **options, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file_is_known_before_anything_is_measured(tmp_path):
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with pytest.raises(OSError):
        claims.run(ID, out=tmp_path / "out")
