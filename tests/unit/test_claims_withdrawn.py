"""Records that are withdrawn: moved with reason and date, readable for good, never edited."""

import dataclasses
import json

import pytest
from typer.testing import CliRunner

from scdlab import claims, cli, files
from scdlab.claims import provenance, withdrawn
from scdlab.claims import record as records
from scdlab.claims.claim import REGISTRY
from scdlab.claims.directions import direction, graded


def _recipe(settings, seed, device):
    return {"a_meV": 1.0 + 0.1 * seed, "b_meV": 2.0 + 0.1 * seed}


def _judge(values, settings):
    return graded(direction(values["a_meV"], values["b_meV"]), settings["steps"] > 100)


CLAIM = claims.Claim(
    id="fake-old",
    lesson=1,
    title="The old way helps.",
    source="A paper",
    paper="in words",
    quantities={"a_meV": "error, with", "b_meV": "error, without"},
    rule="Compare the errors.",
    judge=_judge,
    recipe=_recipe,
    profiles={
        "quick": {"seeds": 1, "steps": 1},
        "cpu": {"seeds": 3, "steps": 10},
        "night": {"seeds": 3, "steps": 100},
    },
)
OTHER = dataclasses.replace(CLAIM, id="fake-other", lesson=2)
REASON = "The clue started at zero."


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    """Two claims with a record each, of the profile cpu, in a temporary folder."""
    monkeypatch.setattr(records, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(provenance, "checkout", lambda: ("a" * 40, False))
    for claim in (CLAIM, OTHER):
        monkeypatch.setitem(REGISTRY, claim.id, claim)
        claims.run(claim.id, "cpu", device="cpu", out=tmp_path / "out", echo=len)
    return records.RECORDS


def change(monkeypatch, **changes):
    monkeypatch.setitem(REGISTRY, CLAIM.id, dataclasses.replace(CLAIM, **changes))


def command(*words):
    return CliRunner().invoke(cli.app, ["claims", *words])


def sentence(*words):
    result = command(*words)
    assert result.exit_code in (1, 2), result.output
    lines = result.stderr.strip().split("\n")
    assert len(lines) == 1 and lines[0], result.stderr
    return lines[0]


def forge(resign, change):
    """Edit a withdrawn record by hand; `resign` also makes the digests right."""
    (path,) = withdrawn.folder().iterdir()
    content = json.loads(path.read_text())
    change(content)
    if resign:
        if isinstance(content.get("record"), dict):
            content["record"]["digest"] = files.content_digest(content["record"])
        content["digest"] = files.content_digest(content)
    path.write_text(json.dumps(content))


def test_a_record_is_moved_with_reason_and_date(recorded):
    before = claims.load_record(CLAIM.id)
    (path,) = claims.withdraw([CLAIM.id], f"  {REASON}\n")
    assert claims.load_record(CLAIM.id) is None
    assert not records.record_path(CLAIM.id, "cpu").exists()
    assert path.parent == recorded / "withdrawn" and path.name.startswith("fake-old.cpu.20")
    (found,) = withdrawn.withdrawn()
    assert found.record == before and found.reason == REASON
    assert found.date == json.loads(path.read_text())["withdrawn"]
    assert claims.load_record(OTHER.id) is not None, "the others stay"


def test_it_can_be_measured_again_and_withdrawn_again(recorded, tmp_path):
    claims.withdraw([CLAIM.id], REASON)
    claims.run(CLAIM.id, "night", device="cpu", out=tmp_path / "out", echo=len)
    claims.withdraw([CLAIM.id], "It was too short.")
    assert {each.record.profile for each in withdrawn.withdrawn()} == {"cpu", "night"}


def test_the_history_is_readable(recorded, monkeypatch):
    claims.withdraw([CLAIM.id, OTHER.id], REASON)
    for changes in (
        {},
        {"rule": "Another rule."},
        {"profiles": {k: CLAIM.profiles[k] for k in ("quick", "night")}},
        {"quantities": {"c_meV": "another", "d_meV": "error"}},
    ):
        change(monkeypatch, **changes)
        rows = claims.history().rows
        assert [row[0].split("\n")[0] for row in rows] == [CLAIM.id, OTHER.id]
        assert "1.10 ± 0.10 meV" in rows[0][1] and "commit aaaaaaa" in rows[0][1]
        assert rows[0][2].endswith(REASON) and rows[0][3] == "same direction"
    monkeypatch.delitem(REGISTRY, OTHER.id)
    assert "no claim any more" in claims.history().rows[1][0]
    assert [row[0].split("\n")[0] for row in claims.history(1).rows] == [CLAIM.id]


def test_an_outdated_record_names_the_command(recorded, monkeypatch, tmp_path):
    change(monkeypatch, rule="Another rule.")
    with pytest.raises(claims.OutdatedRecord, match="scdlab claims withdraw fake-old --reason"):
        claims.load_record(CLAIM.id)
    with pytest.raises(claims.OutdatedRecord, match="the rule has changed"):
        claims.run(CLAIM.id, "cpu", device="cpu", out=tmp_path / "out", echo=len)
    row = next(row for row in claims.table().rows if row[0].startswith(CLAIM.id))
    assert "scdlab claims withdraw fake-old" in row[2] and row[3] == "–"
    assert claims.withdraw([CLAIM.id], REASON)
    assert claims.run(CLAIM.id, "cpu", device="cpu", out=tmp_path / "out", echo=len).verdict


def test_a_record_of_a_claim_that_is_gone_can_be_withdrawn(recorded, monkeypatch):
    monkeypatch.delitem(REGISTRY, CLAIM.id)
    assert claims.withdraw([CLAIM.id], REASON)
    assert withdrawn.withdrawn()[0].record.claim == CLAIM.id


def test_one_profile_alone_can_be_withdrawn(recorded, tmp_path):
    claims.run(CLAIM.id, "night", device="cpu", out=tmp_path / "out", echo=len)
    claims.withdraw([CLAIM.id], REASON, "cpu")
    assert claims.load_record(CLAIM.id).profile == "night"
    with pytest.raises(ValueError, match="has no record of the profile cpu to withdraw"):
        claims.withdraw([CLAIM.id], REASON, "cpu")


def test_a_withdrawal_that_was_cut_short_is_finished(recorded):
    path = records.record_path(CLAIM.id, "cpu")
    content = path.read_text()
    claims.withdraw([CLAIM.id], REASON)
    path.write_text(content)  # as if killed before the record was removed
    claims.withdraw([CLAIM.id], "Another reason.")
    assert not path.exists()
    assert [each.reason for each in withdrawn.withdrawn()] == [REASON]


def test_all_are_withdrawn_or_none(recorded):
    with pytest.raises(ValueError, match="the nearest is"):
        claims.withdraw([CLAIM.id, "fake-odler"], REASON)
    assert claims.load_record(CLAIM.id) and not withdrawn.folder().exists()


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (([CLAIM.id], ""), ValueError, "for a reason, got none"),
        (([CLAIM.id], " \n\t"), ValueError, "for a reason, got none"),
        (([CLAIM.id], None), TypeError, "must be text"),
        (([CLAIM.id], "see /home/me/notes"), ValueError, "no path of this machine"),
        (([], REASON), ValueError, "Name the claims"),
        ((CLAIM.id, REASON), TypeError, "a list of names"),
        ((None, REASON), TypeError, "a list of names"),
        (([5], REASON), TypeError, "named by text"),
        ((["nothing"], REASON), ValueError, "the nearest is"),
        ((["../../etc/passwd"], REASON), ValueError, "the nearest is"),
        ((["*"], REASON), ValueError, "the nearest is"),
        (([CLAIM.id], REASON, "quick"), ValueError, "profiles cpu, night, full, got 'quick'"),
        (([CLAIM.id], REASON, "night"), ValueError, "no record of the profile night"),
    ],
)
def test_wrong_arguments_are_one_sentence(recorded, arguments, kind, words):
    with pytest.raises(kind, match=words) as caught:
        claims.withdraw(*arguments)
    assert "\n" not in str(caught.value) and claims.load_record(CLAIM.id)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "{}"])
def test_a_damaged_record_cannot_be_withdrawn(recorded, text):
    records.record_path(CLAIM.id, "cpu").write_text(text)
    with pytest.raises(ValueError, match="restore it, or remove it"):
        claims.withdraw([CLAIM.id], REASON)


def test_a_record_that_was_edited_cannot_be_withdrawn(recorded):
    path = records.record_path(CLAIM.id, "cpu")
    path.write_text(path.read_text().replace("same direction", "reproduced"))
    with pytest.raises(ValueError, match="edited by hand"):
        claims.withdraw([CLAIM.id], REASON)
    path.write_text(records.record_path(OTHER.id, "cpu").read_text())
    with pytest.raises(ValueError, match=r"it is the record of fake-other\.cpu"):
        claims.withdraw([CLAIM.id], REASON)


@pytest.mark.parametrize(
    ("resign", "change", "complaint"),
    [
        (False, lambda c: c.update(reason="Another."), "edited by hand"),
        (False, lambda c: c["record"].update(verdict="reproduced"), "edited by hand"),
        (True, lambda c: c.update(reason=" "), "its reason"),
        (True, lambda c: c.update(reason=5), "its reason"),
        (True, lambda c: c.update(withdrawn="yesterday"), "when it was withdrawn"),
        (True, lambda c: c.update(record=None), "its entries"),
        (True, lambda c: c.pop("reason"), "its entries"),
        (True, lambda c: c.update(mood="good"), "its entries"),
        (True, lambda c: c["record"].pop("rule"), "its fields are not those"),
        (True, lambda c: c["record"].update(commit=None), "names no commit"),
        (True, lambda c: c["record"].update(verdict=None), "no verdict"),
        (True, lambda c: c["record"]["values"][0].update(a_meV=9.0), "summary disagrees"),
        (True, lambda c: c["record"]["values"].pop(), "every seed"),
        (True, lambda c: c["record"]["settings"].update(seeds="x"), "every seed"),
        (True, lambda c: c["record"].update(profile="night"), "its name is not that"),
    ],
)
def test_a_withdrawn_record_is_checked(recorded, resign, change, complaint):
    claims.withdraw([CLAIM.id], REASON)
    forge(resign, change)
    with pytest.raises(ValueError, match=complaint) as caught:
        claims.history()
    assert "\n" not in str(caught.value) and "fake-old.cpu" in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "5", '{"a": NaN}', "[" * 100_000])
def test_what_is_no_withdrawn_record_is_one_sentence(recorded, text):
    (path,) = claims.withdraw([CLAIM.id], REASON)
    path.write_text(text)
    with pytest.raises(ValueError, match="withdrawn record") as caught:
        claims.history()
    assert "\n" not in str(caught.value)


def test_committed_withdrawn_records_can_be_trusted():
    for path in withdrawn.folder().glob("*"):
        assert withdrawn.read_withdrawn(path).reason


# the command


def test_the_command_withdraws_and_shows(recorded):
    assert "No record was withdrawn." in command("--history").output
    result = command("withdraw", CLAIM.id, OTHER.id, "--reason", REASON)
    assert result.exit_code == 0 and result.output.count("is withdrawn") == 2, result.output
    assert claims.load_record(CLAIM.id) is None
    shown = command("--history", "--lesson", "1")
    assert shown.exit_code == 0 and CLAIM.id in shown.output and OTHER.id not in shown.output


def test_the_command_refuses_in_one_sentence(recorded):
    assert "reason" in sentence("withdraw", CLAIM.id)
    assert "for a reason" in sentence("withdraw", CLAIM.id, "--reason", "")
    assert "nothing" in sentence("withdraw", "nothing", "--reason", REASON)
    assert sentence("withdraw", "--reason", REASON)
    assert "quick" in sentence("withdraw", CLAIM.id, "--reason", REASON, "--profile", "quick")
    assert "no claims of lesson 99" in sentence("--history", "--lesson", "99")
    claims.withdraw([CLAIM.id], REASON)
    assert "has no record" in sentence("withdraw", CLAIM.id, "--reason", REASON)
    forge(False, lambda content: content.update(reason="Another."))
    assert "edited by hand" in sentence("--history")
