"""Stores on disk: nothing but a store is replaced, what is opened is what was saved, and damage of
every kind is one sentence."""

import json
import os
import pickle
import re
import shutil
import threading

import numpy as np
import pytest

from scdlab import files
from scdlab.atoms import AtomStore, storage
from scdlab.locks import Busy, locked


def made(n=12, seed=0):
    rng = np.random.default_rng(seed)
    size = rng.integers(1, 7, n)
    total = int(size.sum())
    return AtomStore.from_arrays(
        rng.choice([1, 6, 7, 8], total),
        rng.normal(size=(total, 3)),
        np.concatenate([[0], np.cumsum(size)]),
        cell=rng.normal(size=(n, 3, 3)) + 5 * np.eye(3),
        energy=-11000 + rng.normal(size=n),
        forces=rng.normal(size=(total, 3)),
        properties={"mu": rng.random(n), "dipole": rng.normal(size=(n, 3))},
        atom_properties={"charge": rng.normal(size=total)},
        meta={"source": "random numbers"},
    )


def entries(folder):
    return sorted(p.name for p in folder.iterdir())


def equal(a, b):
    return a.fingerprint() == b.fingerprint()


# --------------------------------------------------------------------------------------------------
# what is replaced


def test_nothing_but_a_saved_store_is_replaced(tmp_path, monkeypatch):
    project = tmp_path / "project"
    (project / "deep").mkdir(parents=True)
    (project / "thesis.tex").write_text("years")
    with pytest.raises(FileExistsError, match=r"folder \S+project holds deep and 1 more and is no"):
        made().save(project)
    (tmp_path / "frames.xyz").write_text("the only copy")
    with pytest.raises(FileExistsError, match=r"frames\.xyz is a file, not a saved AtomStore"):
        made().save(tmp_path / "frames.xyz")
    (tmp_path / "file-link").symlink_to(tmp_path / "frames.xyz")
    with pytest.raises(FileExistsError, match="is a file"):
        made().save(tmp_path / "file-link")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "store.json").write_text('{"format": "a shop", "arrays": {}}')
    with pytest.raises(FileExistsError, match="is no saved AtomStore"):
        made().save(tmp_path / "other")
    monkeypatch.chdir(tmp_path / "other")
    (tmp_path / "other" / "store.json").unlink()
    with pytest.raises(FileExistsError, match="is the working folder"):
        made().save(".")
    with pytest.raises(OSError, match=r"frames\.xyz is in the way"):
        made().save(tmp_path / "frames.xyz" / "store")
    assert (project / "thesis.tex").read_text() == "years"
    assert (tmp_path / "frames.xyz").read_text() == "the only copy"
    assert entries(tmp_path) == ["file-link", "frames.xyz", "other", "project"]


@pytest.mark.parametrize("name", ["notes.txt", ".hidden", "pos2.npy", "sub"])
def test_a_store_with_something_else_in_it_stays(tmp_path, name):
    made().save(tmp_path / "s")
    if name == "sub":
        (tmp_path / "s" / name).mkdir()
    else:
        (tmp_path / "s" / name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"holds an AtomStore, and {re.escape(name)}, which"):
        made(3).save(tmp_path / "s")
    assert len(AtomStore.open(tmp_path / "s")) == 12 and (tmp_path / "s" / name).exists()


@pytest.mark.parametrize("path", [None, 3, b"bytes", "zero\0byte", ["list"]])
def test_what_is_no_path_is_one_sentence(path):
    for call in (made().save, AtomStore.open):
        with pytest.raises((TypeError, ValueError), match=r"path .*\.$"):
            call(path)


def test_an_empty_folder_is_filled_and_a_link_stays_a_link(tmp_path):
    (tmp_path / "disk" / "sets").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "sets")
    (tmp_path / "new").symlink_to(tmp_path / "disk" / "new")  # leads nowhere yet
    for name in ("link", "new"):
        for n in (12, 3):
            made(n).save(tmp_path / name)
            assert len(AtomStore.open(tmp_path / name)) == n
        assert (tmp_path / name).is_symlink()
    assert entries(tmp_path / "disk") == ["new", "sets"]


def test_a_store_can_be_saved_over_the_one_it_is_mapped_from(tmp_path):
    path = tmp_path / "s"
    made().save(path)
    opened = AtomStore.open(path)
    view = opened[[7, 2, 5]]
    before = opened.take(range(12))
    view.save(path)
    assert equal(AtomStore.open(path), made()[[7, 2, 5]])
    after = opened.take(range(12))  # its pages are those of the old files
    assert all(np.array_equal(before[name], after[name]) for name in before.keys())  # noqa: SIM118
    with pytest.raises(ValueError, match="was replaced after it was opened"):
        pickle.loads(pickle.dumps(view))
    again = AtomStore.open(path)
    again.save(path)  # the same content
    assert equal(pickle.loads(pickle.dumps(again)), again)


def test_two_writers_are_kept_apart_and_leftovers_swept(tmp_path):
    made().save(tmp_path / "s")
    with locked(tmp_path / "s"), pytest.raises(Busy, match="is being written by process"):
        made(3).save(tmp_path / "s")
    assert len(AtomStore.open(tmp_path / "s")) == 12
    (tmp_path / ".s.abcdefgh.tmp").mkdir()
    (tmp_path / ".s.abcdefgh.tmp" / "z.npy").write_text("half")
    (tmp_path / ".s.lock").write_text("")
    made(3).save(tmp_path / "s")
    assert entries(tmp_path) == ["s"]


def test_a_replacement_that_was_cut_short_is_finished_by_the_next_reader(tmp_path):
    made().save(tmp_path / "s")
    (tmp_path / "s").rename(tmp_path / ".s.abcdefgh.old")
    assert len(AtomStore.open(tmp_path / "s")) == 12
    (tmp_path / "s").rename(tmp_path / ".s.abcdefgh.old")
    made(3).save(tmp_path / "s")
    assert len(AtomStore.open(tmp_path / "s")) == 3 and entries(tmp_path) == ["s"]


def test_readers_see_whole_stores_while_one_writes(tmp_path):
    path = tmp_path / "s"
    stores = [made(12), made(3, seed=1)]
    prints = {store.fingerprint() for store in stores}
    stores[0].save(path)
    done = threading.Event()

    def write():
        for k in range(15):
            stores[k % 2].save(path)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert AtomStore.open(path).fingerprint() in prints
    writer.join()


@pytest.mark.parametrize(
    "meta, reason",
    [
        ({"x": float("nan")}, "hold what json cannot"),
        ({"x": "\ud800"}, "hold what json cannot"),
        ({"x": {1, 2}}, r"store.json\['meta'\]\['x'\] is a set"),
        ({"x": object()}, "is a object"),
    ],
)
def test_notes_that_json_cannot_hold_leave_the_old_store(tmp_path, meta, reason):
    made().save(tmp_path / "s")
    other = made(3)
    other.meta = meta
    with pytest.raises((TypeError, ValueError), match=reason):
        other.save(tmp_path / "s")
    assert len(AtomStore.open(tmp_path / "s")) == 12 and entries(tmp_path) == ["s"]


def test_notes_of_numpy_are_numbers(tmp_path):
    store = made()
    store.meta = {"n": np.int64(3), "splits": {"train1": np.arange(3), "test1": [4]}}
    store.save(tmp_path / "s")
    opened = AtomStore.open(tmp_path / "s")
    assert opened.meta == {"n": 3, "splits": {"train1": [0, 1, 2], "test1": [4]}}
    assert len(opened.published_split(1)[0]) == 3


# --------------------------------------------------------------------------------------------------
# damage


def change_head(folder, sign=False, **entries):
    head = json.loads((folder / "store.json").read_text())
    for name, value in entries.items():
        if value is None:
            head.pop(name, None)
        else:
            head[name] = value
    if sign:  # as somebody would who knows how
        head["digest"] = files.content_digest(head)
    (folder / "store.json").write_text(json.dumps(head))


def change_array(folder, name, change, sign):
    """Another array under its name, described as it is; with or without digests."""
    value = change(np.load(folder / f"{name}.npy"))
    np.save(folder / f"{name}.npy", value)
    head = json.loads((folder / "store.json").read_text())
    head["arrays"][name] = {"dtype": value.dtype.name, "shape": list(value.shape)}
    change_head(folder, sign, arrays=head["arrays"])


def put(value, row=3):
    def change(array):
        array = array.copy()
        array[row] = value
        return array

    return change


def flipped(array):
    array = array.copy()
    array[5] ^= 4
    return array


DAMAGE = {
    "ptr flipped": ("ptr", flipped),
    "ptr decreasing": ("ptr", lambda a: a[::-1].copy()),
    "ptr from 1": ("ptr", lambda a: a + 1),
    "ptr negative": ("ptr", put(-5)),
    "ptr twice": ("ptr", lambda a: np.repeat(a, 2)),
    "ptr flat": ("ptr", put(0, slice(0, 3))),
    "z 0": ("z", put(0)),
    "z 255": ("z", put(255)),
    "pos nan": ("pos", put(np.nan)),
    "pos equal": ("pos", put(1.5, slice(None))),
    "pos as float64": ("pos", lambda a: a.astype(np.float64)),
    "pos of one more": ("pos", lambda a: np.concatenate([a, a[:1]])),
    "pos flat": ("pos", lambda a: a.reshape(-1)),
    "forces inf": ("forces", put(np.inf)),
    "a force missing": ("forces", lambda a: a[:-1]),
    "energy nan": ("energy", put(np.nan)),
    "an energy missing": ("energy", lambda a: a[:-1]),
    "energy in columns": ("energy", lambda a: a[:, None]),
    "cell nan": ("cell", put(np.nan)),
    "cell of no length": ("cell", put(0.0)),
    "a cell missing": ("cell", lambda a: a[:-1]),
    "pbc as numbers": ("pbc", lambda a: a.astype(np.uint8)),
    "values of one more": ("values", lambda a: np.concatenate([a, a], 1)),
    "a vector missing": ("vectors", lambda a: a[:-1]),
    "a charge missing": ("atom-charge", lambda a: a[:-1]),
    "charges as text": ("atom-charge", lambda a: a.astype("S8")),
}


@pytest.mark.parametrize("digests", [True, False])
@pytest.mark.parametrize("what", DAMAGE)
def test_arrays_are_checked_against_each_other_and_ranges(tmp_path, what, digests):
    folder = tmp_path / "s"
    made().save(folder)
    if not digests:  # as an earlier version wrote it
        change_head(folder, digests=None, digest=None)
        assert "values checked" in AtomStore.open(folder).summary()
    change_array(folder, *DAMAGE[what], sign=digests)
    with pytest.raises(ValueError, match=r"\.$"):
        AtomStore.open(folder)


def test_one_flipped_bit_anywhere_is_found(tmp_path):
    folder = tmp_path / "s"
    made().save(folder)
    rng = np.random.default_rng(0)
    for file in sorted(folder.iterdir()):
        whole = file.read_bytes()
        for _ in range(10):
            at = int(rng.integers(len(whole)))
            bit = bytes([whole[at] ^ (1 << int(rng.integers(8)))])
            file.write_bytes(whole[:at] + bit + whole[at + 1 :])
            try:
                again = AtomStore.open(folder)
            except (ValueError, FileNotFoundError) as error:
                assert str(error).endswith(".")
            else:  # a blank of store.json or of a header for another
                assert equal(again, made()) and again.meta == made().meta
        file.write_bytes(whole)


HEADS = {
    "a name outside": lambda h: h["arrays"].update({"../x": h["arrays"]["z"]}),
    "an absolute name": lambda h: h["arrays"].update({"/etc/passwd": h["arrays"]["z"]}),
    "an atom property outside": lambda h: (
        h["arrays"].update({"atom-../x": h["arrays"]["z"]}),
        h["atom_properties"].append("../x"),
    ),
    "an unknown array": lambda h: h["arrays"].update({"extra": h["arrays"]["z"]}),
    "a property called z": lambda h: h.update(properties=["z"]),
    "a property of a number": lambda h: h.update(properties=[3]),
    "a property twice": lambda h: h.update(atom_properties=["charge", "charge"]),
    "no names for values": lambda h: h.update(properties=[]),
    "arrays as a list": lambda h: h.update(arrays=[]),
    "an array of nothing": lambda h: h["arrays"].update(z=None),
    "a shape of text": lambda h: h["arrays"]["z"].update(shape="abc"),
    "a negative shape": lambda h: h["arrays"]["z"].update(shape=[-1]),
    "a shape of truth": lambda h: h["arrays"]["z"].update(shape=[True]),
    "a huge shape": lambda h: h["arrays"]["z"].update(shape=[10**30]),
    "an object dtype": lambda h: h["arrays"]["z"].update(dtype="O"),
    "no dtype": lambda h: h["arrays"]["z"].pop("dtype"),
    "a dtype in a list": lambda h: h["arrays"]["z"].update(dtype=[["a", "<f4"]]),
    "no pos": lambda h: h["arrays"].pop("pos"),
    "no ptr": lambda h: h["arrays"].pop("ptr"),
    "no pbc": lambda h: h["arrays"].pop("pbc"),
    "no meta": lambda h: h.pop("meta"),
    "meta of text": lambda h: h.update(meta="text"),
    "properties of text": lambda h: h.update(properties="mu"),
    "vectors of nothing": lambda h: h.update(vectors=None),
    "an unlisted atom property": lambda h: h.update(atom_properties=[]),
    "a digest less": lambda h: h["digests"].pop("z"),
    "digests of numbers": lambda h: h["digests"].update(z=3),
    "digests of text": lambda h: h.update(digests="abc"),
    "the format": lambda h: h.update(format=["scdlab-atomstore"]),
    "the version": lambda h: h.update(version="1"),
    "no version": lambda h: h.pop("version"),
}


@pytest.mark.parametrize("digest", ["right", "old", "none"])
@pytest.mark.parametrize("what", HEADS)
def test_a_description_that_makes_no_sense_is_one_sentence(tmp_path, what, digest):
    folder = tmp_path / "s"
    made().save(folder)
    shutil.copy(folder / "z.npy", tmp_path / "x.npy")
    shutil.copy(folder / "z.npy", folder / "extra.npy")
    head = json.loads((folder / "store.json").read_text())
    if digest == "none" and "digest" not in what:
        del head["digest"], head["digests"]
    HEADS[what](head)
    if digest == "right":
        head["digest"] = files.content_digest(head)
    (folder / "store.json").write_text(json.dumps(head))
    with pytest.raises(ValueError, match=r"\.$"):
        AtomStore.open(folder)


def test_an_edit_by_hand_is_found(tmp_path):
    folder = tmp_path / "s"
    made().save(folder)
    text = (folder / "store.json").read_text()
    (folder / "store.json").write_text(text.replace("random numbers", "experiment"))
    with pytest.raises(ValueError, match=r"store\.json is damaged \(its digest differs"):
        AtomStore.open(folder)
    for entry in ("digest", "digests"):
        (folder / "store.json").write_text(text)
        change_head(folder, **{entry: None})
        with pytest.raises(ValueError, match=r"store\.json is damaged"):
            AtomStore.open(folder)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw + b"\0",
        lambda raw: raw[:9],
        lambda raw: b"",
        lambda raw: raw.replace(b"False", b"True ", 1),
        lambda raw: raw.replace(b"'<f4'", b"'>f4'", 1),
        lambda raw: raw.replace(b"'<f4'", b"'|O' ", 1),
        lambda raw: raw.replace(b"{'descr'", b"{'scrde'", 1),
        lambda raw: raw[:6] + b"\x02" + raw[7:],
        lambda raw: raw[:8] + b"\xff\xff" + raw[10:],
    ],
)
def test_files_of_numbers_are_read_strictly(tmp_path, damage):
    folder = tmp_path / "s"
    made().save(folder)
    (folder / "pos.npy").write_bytes(damage((folder / "pos.npy").read_bytes()))
    with pytest.raises(ValueError, match=r"pos\.npy is truncated or damaged \(.*\): make or copy"):
        AtomStore.open(folder)


def test_numpy_reads_the_files_as_they_were_written(tmp_path):
    store = made()
    store.save(tmp_path / "s")
    for name, value in storage.all_arrays(store.arrays(), store.atom_properties()).items():
        np.save(tmp_path / "theirs.npy", value)
        assert (tmp_path / "s" / f"{name}.npy").read_bytes() == (
            tmp_path / "theirs.npy"
        ).read_bytes()


# --------------------------------------------------------------------------------------------------
# large stores, fingerprints


def test_large_stores_are_checked_on_request(tmp_path, monkeypatch):
    made().save(tmp_path / "s")
    monkeypatch.setattr(storage, "WHOLE", 100)
    opened = AtomStore.open(tmp_path / "s")
    assert "not checked yet" in opened.summary()
    view = opened[3:5]
    view.verify()
    assert "digests checked" in opened.summary() and "digests checked" in view.summary()
    change_array(tmp_path / "s", "pos", put(0.5), sign=True)
    opened = AtomStore.open(tmp_path / "s")
    with pytest.raises(ValueError, match=r"pos\.npy is damaged \(its digest differs"):
        opened.verify()
    change_head(tmp_path / "s", digests=None, digest=None)
    change_array(tmp_path / "s", "pos", put(np.nan), sign=False)
    opened = AtomStore.open(tmp_path / "s")
    with pytest.raises(ValueError, match=r"is damaged: structure \d+, atom \d+ has a position"):
        opened.verify()


def test_a_flipped_row_number_is_found_by_take_before_all_is_checked(tmp_path, monkeypatch):
    made().save(tmp_path / "s")
    monkeypatch.setattr(storage, "WHOLE", 100)
    change_array(tmp_path / "s", "ptr", put(10**6, 5), sign=True)
    opened = AtomStore.open(tmp_path / "s")
    for index in ([4], [5]):
        with pytest.raises(ValueError, match=r"ptr\.npy is damaged at structure [45]"):
            opened.take(index)


def test_a_fingerprint_is_of_content_and_order_alone(tmp_path, monkeypatch):
    store = made()
    own = store.fingerprint()
    store.save(tmp_path / "s")
    opened = AtomStore.open(tmp_path / "s")
    assert own == opened.fingerprint() == opened[:].fingerprint() == made().fingerprint()
    assert own == opened[::-1][::-1].fingerprint()
    assert opened[3:7].fingerprint() == store[3:7].fingerprint()
    opened[3:7].save(tmp_path / "part")
    assert AtomStore.open(tmp_path / "part").fingerprint() == store[3:7].fingerprint()
    store.meta = {"other": "notes"}
    assert own == store.fingerprint()
    others = [store[::-1], store[:-1], made(seed=1), store[[0, 0, *range(2, 12)]]]
    for name in ("pos", "z", "energy", "forces", "cell", "values", "vectors"):
        arrays = store.arrays()
        arrays[name] = arrays[name].copy()
        arrays[name].flat[-1] += 1
        others.append(AtomStore(arrays, ("mu",), store.atom_properties(), {}, vectors=("dipole",)))
    arrays = store.arrays()
    others.append(AtomStore(arrays, ("nu",), store.atom_properties(), {}, vectors=("dipole",)))
    others.append(AtomStore(arrays, ("mu",), {}, {}, vectors=("dipole",)))
    prints = {other.fingerprint() for other in others}
    assert len(prints) == len(others) and own not in prints
    # in pieces of a few atoms
    monkeypatch.setattr("scdlab.atoms.fingerprint._PIECE", 4)
    monkeypatch.setattr("scdlab.atoms.npy._PIECE", 50)
    assert own == made().fingerprint() == made()[:].fingerprint()
    assert store[::-1].fingerprint() in prints


def test_a_full_disk_leaves_the_old_store(tmp_path):
    resource = pytest.importorskip("resource")
    made().save(tmp_path / "s")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"s cannot be written \(file too large\): make room"):
            made(2000).save(tmp_path / "s")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(AtomStore.open(tmp_path / "s")) == 12 and entries(tmp_path) == ["s"]
    assert os.listdir(tmp_path / "s")


@pytest.mark.parametrize(
    "head",
    [
        "[]",
        "{",
        "",
        '{"format": "scdlab-atomstore", "arrays": {}}',
        '{"format": "scdlab-atomstore", "version": 2}',
    ],
)
def test_a_damaged_store_is_written_anew_and_nothing_else_is(tmp_path, head):
    made().save(tmp_path / "s")
    (tmp_path / "s" / "store.json").write_text(head)
    made().save(tmp_path / "s")
    assert len(AtomStore.open(tmp_path / "s")) == len(made())
    (tmp_path / "s" / "store.json").write_text(head)
    (tmp_path / "s" / "thesis.tex").write_text("years")
    with pytest.raises(FileExistsError, match=r"thesis\.tex"):
        made().save(tmp_path / "s")
