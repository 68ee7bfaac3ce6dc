"""The ledger: only `run` writes records, records carry their provenance, and verdicts follow from
the rule."""

import dataclasses
import json
import shutil
import subprocess

import numpy as np
import pytest

import scdlab
from scdlab import claims, files
from scdlab.claims import provenance, schnet, show
from scdlab.claims import record as records
from scdlab.claims.claim import RECORDED, REGISTRY, seeds_of
from scdlab.claims.directions import direction
from scdlab.claims.kept import Bench, lend
from scdlab.training import checkpoint

COMMIT = "a" * 40


def _recipe(settings, seed, device):
    _recipe.calls.append(seed)
    return {"few_mae_meV": 1.0 + 0.1 * seed, "many_mae_meV": 1.0 + 0.1 * seed + settings["gap"]}


def _judge(values, settings):
    seen = direction(values["few_mae_meV"], values["many_mae_meV"])
    return {"paper": "same direction", "opposite": "not seen at this scale", "tie": "tie"}[seen]


FAKE = claims.Claim(
    id="fake-few-beat-many",
    lesson=1,
    title="Few labels beat many.",
    source="A paper, table 1",
    paper="few 1 meV, many 2 meV",
    quantities={"few_mae_meV": "error with few labels", "many_mae_meV": "error with many labels"},
    paper_values={"few_mae_meV": "1"},
    rule="Same direction when few is lower in every seed.",
    judge=_judge,
    recipe=_recipe,
    profiles={
        "quick": {"seeds": 1, "gap": 1},
        "cpu": {"seeds": 3, "gap": 1},
        "full": {"seeds": 3, "gap": -1},
    },
)


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """The fake claim in the ledger, records in a temporary folder, a clean tree."""
    monkeypatch.setattr(records, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(provenance, "checkout", lambda: (COMMIT, False))
    _recipe.calls = []
    monkeypatch.setitem(REGISTRY, FAKE.id, FAKE)
    return FAKE


def run(tmp_path, profile="cpu", **options):
    return claims.run(
        FAKE.id, profile, device="cpu", out=tmp_path / "out", echo=lambda line: None, **options
    )


def edit(resign, **changes):
    """Change a record on disk; `resign` also makes the digest right, as a careful forger would."""
    path = records.record_path(FAKE.id, "cpu")
    content = json.loads(path.read_text()) | changes
    if resign:
        content["digest"] = files.content_digest(content)
    path.write_text(json.dumps(content))


def test_a_run_writes_a_record_with_its_provenance(fake, tmp_path):
    record = run(tmp_path)
    stored = claims.load_record(fake.id)
    assert stored == record and stored.verdict == "same direction"
    assert stored.values == [
        {"few_mae_meV": 1.0 + 0.1 * s, "many_mae_meV": 2.0 + 0.1 * s} for s in range(3)
    ]
    few = stored.summary["few_mae_meV"]
    assert few == pytest.approx({"mean": 1.1, "std": 0.1, "min": 1.0, "max": 1.2})
    assert (stored.commit, stored.dirty, stored.rule, stored.settings) == (
        COMMIT,
        False,
        FAKE.rule,
        {"seeds": 3, "gap": 1},
    )
    assert stored.command == "scdlab claims run fake-few-beat-many --profile cpu"
    assert {"python", "torch", "numpy", "scdlab"} <= set(stored.versions) and stored.hardware[
        "cores"
    ] >= 1
    assert (
        stored.hardware["cpu"]
        and stored.hardware["memory_GiB"] > 0
        and stored.hardware["gpu"] is None
    )


def test_quick_gives_no_verdict_and_no_record(fake, tmp_path):
    assert run(tmp_path, "quick").verdict is None
    assert not records.RECORDS.exists()


def test_a_dirty_tree_is_not_recorded(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "checkout", lambda: (COMMIT, True))
    with pytest.raises(RuntimeError, match="commit your changes"):
        run(tmp_path)
    assert _recipe.calls == [], "refuse before measuring, not after"
    assert run(tmp_path, allow_dirty=True).verdict == "same direction"
    assert claims.load_record(fake.id) is None


def test_pieces_are_kept_and_recorded_when_complete(fake, tmp_path):
    assert run(tmp_path, seeds=[1]).verdict is None and claims.load_record(fake.id) is None
    run(tmp_path)
    assert _recipe.calls == [1, 0, 2], "seed 1 is kept from the first piece"
    assert claims.load_record(fake.id).verdict == "same direction"


def test_a_kept_piece_of_other_source_is_measured_again(fake, tmp_path, monkeypatch):
    run(tmp_path, seeds=[0])
    monkeypatch.setattr(provenance, "deciding_digest", lambda modules: "b" * 64)
    run(tmp_path, seeds=[0])
    assert _recipe.calls == [0, 0]


# --- models that recipes share, and checkpoints
# -----------------------------------------------------------------


def _shared(settings, seed, device):
    """A recipe that starts from a kept model; `trained` counts trainings."""

    def train(folder):
        _shared.trained.append((seed, folder))
        store = scdlab.load_ethanol()[:8]
        model = scdlab.SchNet(hidden_channels=4, num_layers=1, num_rbf=4)
        options = dict(
            steps=2,
            batch_size=2,
            device=device,
            progress=False,
            out=folder,
            resume=folder is not None,
        )
        return scdlab.fit(model, scdlab.objectives.EnergyForces(), store, **options)

    model = claims.keep("tiny", {"steps": 2}, seed, train)
    e = model(scdlab.load_ethanol().take([0])).energy.item()
    return {"few_mae_meV": e, "many_mae_meV": e + 1}


@pytest.fixture
def shared(fake, monkeypatch):
    """Two claims that start from the same model; the first hands it on."""
    _shared.trained = []
    first = dataclasses.replace(
        FAKE, id="fake-one", recipe=_shared, checkpoints={"tiny": "8 frames of ethanol."}
    )
    second = dataclasses.replace(first, id="fake-two", checkpoints={})
    for claim in (first, second):
        monkeypatch.setitem(REGISTRY, claim.id, claim)
    return first, second


def measure(claim, tmp_path, **options):
    return claims.run(
        claim.id, "cpu", device="cpu", out=tmp_path / "out", echo=lambda line: None, **options
    )


def test_recipes_share_a_pretrained_model_and_its_time(shared, tmp_path):
    one, two = (measure(claim, tmp_path) for claim in shared)
    assert [seed for seed, _ in _shared.trained] == [0, 1, 2], "the second claim trains nothing"
    assert one.values == two.values and len({v["few_mae_meV"] for v in one.values}) == 3
    kept = [
        json.loads(path.read_text())["seconds"]
        for path in (tmp_path / "out").glob("models/*/kept.json")
    ]
    assert sum(two.seed_seconds) >= round(sum(kept), 1) - 0.2, "a shared training is no free one"


def test_a_model_that_is_asked_for_twice_counts_once(shared, tmp_path):
    bench = Bench(tmp_path, {"torch": "t", "device": "cpu"})
    for asked in range(2):
        with lend(bench):
            _shared({}, 0, "cpu")
        assert bench.seconds == 0, (
            f"trained here, and in the time of this very run: asked {asked + 1} times"
        )
    assert len(_shared.trained) == 1
    later = Bench(tmp_path, bench.key)
    for _ in range(2):
        with lend(later):
            _shared({}, 0, "cpu")
    (kept,) = (
        json.loads(path.read_text())["seconds"] for path in tmp_path.glob("models/*/kept.json")
    )
    assert later.seconds == kept, "trained by an earlier run: its time is added, once"


def test_a_model_of_other_source_is_trained_again(shared, tmp_path, monkeypatch):
    measure(shared[0], tmp_path, seeds=[0])
    monkeypatch.setattr(provenance, "deciding_digest", lambda modules: "b" * 64)
    measure(shared[1], tmp_path, seeds=[0])
    assert [seed for seed, _ in _shared.trained] == [0, 0]


def test_outside_of_run_nothing_is_kept(shared):
    _shared({}, 5, "cpu")
    assert _shared.trained == [(5, None)]


def test_checkpoints_are_handed_on_with_their_provenance(shared, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "package_dir", lambda name: tmp_path)
    record = measure(shared[0], tmp_path, checkpoints=tmp_path / "checkpoints")
    model = scdlab.load_pretrained("tiny")
    energy = float(model(scdlab.load_ethanol().take([0])).energy)
    assert energy == pytest.approx(record.values[0]["few_mae_meV"]), "the model of seed 0"
    origin = model.provenance
    assert set(origin) == set(checkpoint.PROVENANCE) and origin["seen"] == "8 frames of ethanol."
    assert (origin["commit"], origin["settings"]) == (COMMIT, record.settings)
    assert (
        origin["command"]
        == "scdlab claims run fake-one --profile cpu --checkpoints data/checkpoints"
    )
    shutil.rmtree(tmp_path / "out" / "models")
    measure(shared[0], tmp_path, checkpoints=tmp_path / "checkpoints")
    assert len(_shared.trained) == 6, "kept values without their models are measured again"


def test_a_checkpoint_holds_its_test_error(shared, tmp_path, monkeypatch):
    tested = dataclasses.replace(
        shared[0], checkpoint_tests={"tiny": {"test_energy_mae_meV": "many_mae_meV"}}
    )
    monkeypatch.setitem(REGISTRY, tested.id, tested)
    monkeypatch.setattr(checkpoint, "package_dir", lambda name: tmp_path)
    record = measure(tested, tmp_path, checkpoints=tmp_path / "checkpoints")
    origin = scdlab.load_pretrained("tiny").provenance
    assert origin["test_energy_mae_meV"] == record.values[0]["many_mae_meV"]


def test_tests_are_of_checkpoints_and_quantities():
    with pytest.raises(ValueError, match="unknown checkpoints"):
        dataclasses.replace(
            FAKE, checkpoint_tests={"tiny": {"test_energy_mae_meV": "many_mae_meV"}}
        )
    with pytest.raises(ValueError, match="unknown quantities"):
        dataclasses.replace(
            FAKE, checkpoints={"tiny": "8 frames"}, checkpoint_tests={"tiny": {"test": "mae"}}
        )


def test_a_claim_names_its_seeds(fake, tmp_path, monkeypatch):
    cpu = {"seeds": [1, 2, 3], "gap": 1}
    named = dataclasses.replace(FAKE, profiles=FAKE.profiles | {"cpu": cpu})
    monkeypatch.setitem(REGISTRY, FAKE.id, named)
    assert run(tmp_path, seeds=[3]).verdict is None and claims.load_record(FAKE.id) is None
    record = run(tmp_path)
    assert _recipe.calls == [3, 1, 2] and record.seeds == [1, 2, 3]
    assert claims.load_record(FAKE.id) == record
    with pytest.raises(ValueError, match=r"some of \[1, 2, 3\]"):
        run(tmp_path, seeds=[0])
    edit(resign=True, seeds=[0, 1, 2])
    with pytest.raises(ValueError, match="every seed of its profile"):
        claims.load_record(FAKE.id, "cpu")


def test_checkpoints_need_a_recorded_run(shared, tmp_path):
    for claim, profile, options in [
        (shared[1], "cpu", {}),
        (shared[0], "quick", {}),
        (shared[0], "cpu", {"seeds": [1]}),
        (shared[0], "cpu", {"allow_dirty": True}),
    ]:
        with pytest.raises(ValueError, match="models of seed 0"):
            claims.run(
                claim.id, profile, out=tmp_path / "out", checkpoints=tmp_path / "there", **options
            )
    assert _shared.trained == [] and not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    ("changes", "resign", "complaint"),
    [
        ({"verdict": "reproduced"}, False, "edited by hand"),
        ({"seconds": 1e9}, False, "edited by hand"),
        ({"verdict": "reproduced"}, True, "verdict disagrees"),
        ({"commit": None}, True, "names no commit"),
        ({"dirty": True}, True, "names no commit"),
        ({"hardware": {}}, True, "hardware is empty"),
        ({"versions": {}}, True, "versions is empty"),
        ({"command": ""}, True, "command is empty"),
        ({"command": "scdlab claims run x --out /home/me/x"}, True, "path of the machine"),
        ({"claim": "no-such-claim"}, True, "there is no claim"),
        ({"profile": "quick"}, True, "never recorded"),
        ({"settings": {"seeds": 3, "gap": 2}}, True, "settings have changed"),
        ({"rule": "Always reproduced."}, True, "rule has changed"),
        ({"values": [{"few_mae_meV": 1.0, "many_mae_meV": 3.0}] * 3}, True, "summary disagrees"),
        ({"values": [{"few_mae_meV": 1.0, "many_mae_meV": 3.0}]}, True, "every seed"),
        ({"values": [{"few_mae_meV": 1.0}] * 3}, True, "quantities are not"),
        ({"mood": "good"}, True, "fields are not those"),
    ],
)
def test_a_damaged_record_is_refused(fake, tmp_path, changes, resign, complaint):
    run(tmp_path)
    edit(resign, **changes)
    with pytest.raises(ValueError, match=complaint):
        claims.load_record(fake.id)
    if "have changed" in complaint or "has changed" in complaint or "quantities" in complaint:
        (row,) = (row for row in claims.table().rows if row[0].startswith(fake.id))
        assert "scdlab claims withdraw fake-few-beat-many --reason" in row[2] and row[3] == "–"
        return
    with pytest.raises(ValueError, match="scdlab claims run fake-few-beat-many --profile cpu"):
        claims.table()


def test_committed_records_can_be_trusted():
    for path in set(records.RECORDS.glob("*.*")) - {records.RECORDS / "pending.json"}:
        content = json.loads(path.read_text(encoding="utf-8"))
        assert records.problems(content) == [], path.name
        assert path.name == records.record_path(content["claim"], content["profile"]).name


def test_a_record_under_another_name_is_refused(fake, tmp_path):
    run(tmp_path)
    records.record_path(FAKE.id, "cpu").rename(records.record_path(FAKE.id, "full"))
    with pytest.raises(ValueError, match="under another name"):
        claims.load_record(FAKE.id)


@pytest.mark.parametrize(
    ("worse", "seen"),
    [
        ([2, 3, 4], "paper"),
        ([0.5, 0.7, 0.1], "opposite"),
        ([1, 1, 1], "tie"),
        ([0.9, 1.5, 9], "tie"),
        ([1.1, 1.2, 9], "tie"),
    ],
)
def test_direction_needs_every_seed_and_more_than_the_spread(worse, seen):
    assert direction([1, 1, 1], worse) == seen


def test_one_seed_shows_no_direction():
    assert direction([1.0], [5.0]) == "tie"


def test_verdict_follows_the_measured_sign(fake, tmp_path):
    assert run(tmp_path, "full").verdict == "not seen at this scale"


def test_a_recipe_must_give_finite_numbers_of_the_claim(fake, tmp_path, monkeypatch):
    for gave, complaint in [
        ({"few_mae_meV": 1.0}, "the claim names"),
        ({"few_mae_meV": np.nan, "many_mae_meV": 1}, "finite"),
    ]:
        broken = dataclasses.replace(FAKE, recipe=lambda settings, seed, device, gave=gave: gave)
        monkeypatch.setitem(REGISTRY, FAKE.id, broken)
        with pytest.raises(ValueError, match=complaint):
            run(tmp_path)
    assert list((tmp_path).rglob("*.json")) == []


def test_errors_name_the_thing_and_the_remedy(fake, tmp_path):
    with pytest.raises(ValueError, match="the nearest is 'fake-few-beat-many'"):
        claims.run("fake-few-beat-mny")
    with pytest.raises(ValueError, match="quick, cpu, night, full"):
        claims.run(FAKE.id, "fast")
    with pytest.raises(ValueError, match=r"no settings for the profile 'night'.*quick, cpu, full"):
        claims.run(FAKE.id, "night")
    with pytest.raises(ValueError, match=r"some of \[0, 1, 2\].*got \[7\]"):
        run(tmp_path, seeds=[7])
    with pytest.raises(ValueError, match="no quantity 'mae'; it has few_mae_meV, many_mae_meV"):
        claims.compare(FAKE.id, {"mae": 1})
    with pytest.raises(ValueError, match="an id of its own"):
        claims.register(FAKE)
    for profiles in ({}, {"quick": {}}, {"cpu": {}, "full": {}}, {"quick": {}, "day": {}}):
        with pytest.raises(ValueError, match="quick and at least one more of cpu, night, full"):
            dataclasses.replace(FAKE, profiles=profiles)
    for hours in ({"night": 1}, {"cpu": 0}, {"cpu": -1.0}, {"cpu": float("nan")}):
        with pytest.raises(ValueError, match="hours must be positive"):
            dataclasses.replace(FAKE, hours=hours)
    with pytest.raises(ValueError, match="unknown quantities"):
        dataclasses.replace(FAKE, paper_values={"mae": "1"})


def test_compare_draws_paper_recorded_and_yours(fake, tmp_path):
    before = claims.compare(FAKE.id, yours=1.5)
    assert before.rows[0][1:] == ("1", "not measured yet", "1.50")
    assert before.rows[1][1:] == ("–", "not measured yet", "–")
    command = "scdlab claims run fake-few-beat-many --profile cpu"
    assert f"`{command}` measures it" in before.note
    assert f"<code>{command}</code> measures it" in before._repr_html_()
    run(tmp_path)
    after = claims.compare(FAKE.id, yours={"many_mae_meV": 2.0})
    assert after.rows[0][2] == "1.10 ± 0.10" and after.rows[1][3] == "2.00"
    assert "same direction" in after.note and FAKE.rule in after.note
    page = after._repr_html_()
    assert page.startswith("<table>") and "1.10 ± 0.10" in page and "<script" not in page
    assert "1.10 ± 0.10" in str(after)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("a_meV", "meV"),
        ("f_meV_per_A", "meV/Å"),
        ("drift_meV_per_atom_per_ps", "meV/atom/ps"),
        ("t_ps", "ps"),
        ("mu_mae_D", "D"),
        ("steps", ""),
    ],
)
def test_units_are_read_off_the_names(name, unit):
    assert show.unit(name) == unit


def test_html_escapes_what_it_shows(fake):
    assert "&lt;b&gt;" in claims.compare(FAKE.id, {"few_mae_meV": "<b>"})._repr_html_()


def test_table_lists_every_claim_and_says_what_is_not_recorded(fake):
    rows = {row[0].split("\n")[0]: row for row in claims.table().rows}
    assert set(rows) == {c.id for c in claims.claims()}
    assert rows[FAKE.id][1:] == (
        "few 1 meV, many 2 meV",
        "not measured yet",
        "–",
    )
    assert claims.table(lesson=99).rows == ()
    assert "not measured yet" in str(claims.table())
    assert "as in `scdlab claims run schnet-" in claims.table(lesson=1).note


def test_source_digest_sees_the_code():
    assert provenance.source_digest() == provenance.source_digest()
    assert len(provenance.source_digest()) == 64


def test_the_kit_has_a_checkout_or_says_so(monkeypatch):
    monkeypatch.setattr(provenance.shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match="git checkout"):
        provenance.checkout()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_tree_is_clean_but_for_its_records(monkeypatch, tmp_path):
    def git(*words):
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    code = tmp_path / "scdlab" / "__init__.py"
    records = tmp_path / "scdlab" / "claims" / "records"
    records.mkdir(parents=True)
    code.write_text("one = 1\n")
    git("init", "-q")
    git("add", ".")
    git(
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b.c",
        "-c",
        "commit.gpgsign=false",
        "commit",
        "-q",
        "-m",
        "one",
    )
    monkeypatch.setattr(provenance.scdlab, "__file__", str(code))
    assert provenance.checkout() == (git("rev-parse", "HEAD"), False)
    (records / "a.cpu.json").write_text("{}")
    (tmp_path / "data" / "checkpoints").mkdir(parents=True)
    (tmp_path / "data" / "checkpoints" / "a.json").write_text("{}")
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "benchmarks" / "results" / "a.json").write_text("{}")
    assert provenance.checkout()[1] is False, (
        "a record just written does not stand in the next one's way"
    )
    code.write_text("one = 2\n")
    assert provenance.checkout()[1] is True


@pytest.mark.parametrize(
    "value, text",
    [
        (0, "0"),
        (1234.5, "1,234"),
        (0.01234, "0.0123"),
        (1e-7, "1.00e-07"),
        (-2.5, "-2.50"),
        (0.9999, "1.00"),
    ],
)
def test_numbers_are_short(value, text):
    assert records.number(value) == text


@pytest.mark.parametrize("claim", claims.claims(), ids=lambda c: c.id)
def test_every_claim_is_written_out(claim):
    assert claim.title.endswith(".") and claim.source and claim.paper and claim.rule.endswith(".")
    for profile in claim.profiles:
        if profile != "quick":
            assert len(seeds_of(claim.settings(profile))) >= 3, "a verdict needs a spread"
    if claim.precondition is not None:
        assert claim.precondition.text.endswith(".")
    assert all(meaning for meaning in claim.quantities.values())


def values(claim, better, worse, **others):
    """Values of a claim, one per seed, for its two arms and the quantities named; 1 for all
    else."""
    arms = dict(zip(claim.arms, (better, worse), strict=True)) | others
    return [
        {name: arms.get(name, (1, 1, 1))[seed] for name in claim.quantities} for seed in range(3)
    ]


LOW = (1.0, 1.1, 1.2)
MIDDLE = (2.0, 2.1, 2.2)
HIGH = (40.0, 41.0, 42.0)
ANY = (1.0, 3.0, 0.5)


@pytest.mark.parametrize(
    ("claim_id", "profile", "better", "worse", "others", "verdict"),
    [
        ("schnet-forces-few-labels", "cpu", LOW, HIGH, {}, "same direction"),
        ("schnet-forces-few-labels", "full", LOW, HIGH, {}, "reproduced"),
        ("schnet-forces-few-labels", "cpu", HIGH, LOW, {}, "not seen at this scale"),
        ("schnet-forces-few-labels", "full", HIGH, LOW, {}, "contradicted"),
        ("schnet-forces-few-labels", "full", LOW, ANY, {}, "tie"),
        ("schnet-rbf-plateau", "cpu", LOW, HIGH, {}, "reproduced"),
        ("schnet-rbf-plateau", "cpu", LOW, MIDDLE, {}, "same direction"),
        ("schnet-rbf-plateau", "cpu", HIGH, LOW, {}, "not seen at this scale"),
        ("schnet-rbf-plateau", "cpu", LOW, LOW, {}, "tie"),
        (
            "schnet-isomers-known-unknown",
            "cpu",
            LOW,
            HIGH,
            {"force_mae_unknown_meV_per_A": MIDDLE},
            "reproduced",
        ),
        (
            "schnet-isomers-known-unknown",
            "cpu",
            LOW,
            MIDDLE,
            {"force_mae_unknown_meV_per_A": HIGH},
            "same direction",
        ),
        ("schnet-isomers-known-unknown", "cpu", LOW, HIGH, {}, "same direction"),
        ("schnet-isomers-known-unknown", "cpu", MIDDLE, LOW, {}, "not seen at this scale"),
        ("schnet-isomers-known-unknown", "cpu", LOW, ANY, {}, "tie"),
        ("schnet-nve-conservative", "cpu", (0.1, 0.2, 0.1), HIGH, {}, "reproduced"),
        ("schnet-nve-conservative", "cpu", LOW, HIGH, {}, "same direction"),
        ("schnet-nve-conservative", "cpu", HIGH, LOW, {}, "contradicted"),
        ("schnet-nve-conservative", "cpu", LOW, ANY, {}, "tie"),
    ],
)
def test_rules_of_lesson_01(claim_id, profile, better, worse, others, verdict):
    claim = claims.get(claim_id)
    assert claim.verdict(values(claim, better, worse, **others), claim.settings(profile)) == verdict


def test_the_plateau_is_counted_in_steps():
    assert schnet.steps_to_halve([10, 20, 30], [4.0, 2.1, 1.9]) == 30
    assert schnet.steps_to_halve([10, 20, 30], [4.0, 3.9, 3.8]) == 30
    assert schnet.steps_to_halve([10, 20, 30], [4.0, 1.0, 3.8]) == 20


@pytest.fixture(scope="module")
def quick_runs(tmp_path_factory):
    """Where all claims run, so that what one has trained is there for the others."""
    return tmp_path_factory.mktemp("quick")


@pytest.mark.slow
@pytest.mark.parametrize("claim", claims.claims(), ids=lambda c: c.id)
def test_quick_recipes_run(claim, quick_runs):
    if claim.id == "coord-noise-force":
        pytest.importorskip("tblite", reason="tblite is not installed: no GFN2-xTB forces")
    record = claims.run(claim.id, "quick", device="cpu", out=quick_runs, echo=lambda line: None)
    assert record.verdict is None and set(record.summary) == set(claim.quantities)
    if claim.lesson == 3:
        assert list(record.values[0]) == list(claim.quantities)
    if claim.id == "scd-cost":  # it measures time
        return
    again = claim.recipe(claim.settings("quick"), 0, "cpu")  # which trains everything anew
    assert again == pytest.approx(record.values[0], rel=1e-3), (
        "the same seed gives the same numbers"
    )


# --- which claims are recorded, and which wait for it
# ----------------------------------------------------------------------------------------------

PENDING = files.read_json(records.RECORDS / "pending.json", "list", "write it anew")
REPLACED = {"dens-few-frames": "dens-steps-2500"}  # a claim that is gone -> what stands for it


@pytest.mark.parametrize("lesson", range(1, 6))
def test_every_claim_of_a_lesson_is_recorded(lesson):
    """… or stands in the committed list of those that are to be measured."""
    of_lesson = [claim for claim in claims.claims() if claim.lesson == lesson]
    assert of_lesson
    for claim in of_lesson:
        record = claims.load_record(claim.id)
        if record is None:
            assert claim.id in PENDING, f"{claim.id}: `python tools/counts.py` lists it"
        else:
            assert len(record.seeds) >= 3, claim.id


def test_the_list_of_claims_to_be_measured_is_true():
    assert show.pending() == PENDING, "`python tools/counts.py` writes it"
    for claim_id, command in PENDING.items():
        *words, profile = command.split()
        assert words == ["scdlab", "claims", "run", claim_id, "--profile"]
        assert profile in RECORDED and profile in claims.get(claim_id).profiles


def test_what_was_withdrawn_is_recorded_anew_or_to_be_measured():
    ids = {each.record.claim for each in claims.withdrawn.withdrawn()}
    assert ids
    for claim_id in ids:
        stands = REPLACED.get(claim_id, claim_id)
        assert claims.load_record(stands) or stands in PENDING, claim_id
