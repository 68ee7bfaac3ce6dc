"""rMD17 in both layouts, and a download that survives what networks do."""

import hashlib
import http.server
import io
import os
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from scdlab import files
from scdlab.atoms import AtomStore, load_md17, md17
from scdlab.atoms.download import download
from scdlab.locks import Busy, locked
from scdlab.units import KCAL_MOL

REAL = Path(
    os.environ.get("SCDLAB_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data"
)


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("SCDLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SCDLAB_DATA", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def arrays(frames=30):
    rng = np.random.default_rng(0)
    return {
        "nuclear_charges": np.array([6, 1, 8], np.uint8),
        "coords": rng.normal(size=(frames, 3, 3)),
        "energies": -97_000 + rng.normal(size=frames),
        "forces": rng.normal(size=(frames, 3, 3)),
        "old_indices": np.arange(frames)[::-1],
    }


def check(store, frames=30):
    raw = arrays(frames)
    assert len(store) == frames
    np.testing.assert_allclose(store.energy, raw["energies"] * KCAL_MOL, rtol=1e-15)
    batch = store.take([4])
    assert batch.z.tolist() == [6, 1, 8]
    np.testing.assert_allclose(batch.pos, raw["coords"][4], atol=1e-6)
    np.testing.assert_allclose(batch.forces, raw["forces"][4] * KCAL_MOL, atol=1e-6)


def test_published_layout_with_its_split_files(tmp_path):
    (tmp_path / "rmd17" / "npz_data").mkdir(parents=True)
    (tmp_path / "rmd17" / "splits").mkdir()
    np.savez(tmp_path / "rmd17" / "npz_data" / "rmd17_ethanol.npz", **arrays())
    for k, side, rows in [
        (1, "train", [3, 1]),
        (1, "test", [9]),
        (2, "train", [0]),
        (2, "test", [5, 6]),
    ]:
        (tmp_path / "rmd17" / "splits" / f"index_{side}_0{k}.csv").write_text(
            "\n".join(map(str, rows)) + "\n"
        )
    store = load_md17("ethanol", root=tmp_path)
    check(store)
    assert [part.index.tolist() for part in store.published_split(2)] == [[0], [5, 6]]
    with pytest.raises(ValueError, match=r"no published split 3 \(it has: 1, 2\)"):
        store.published_split(3)
    with pytest.raises(ValueError, match="no published split 1"):
        store[:10].published_split(1)  # the rows of a view are others


def test_compact_layout_by_file_folder_and_environment(tmp_path, monkeypatch):
    raw = arrays()
    z, pos, energy, forces, _ = raw.values()
    path = tmp_path / "rmd17_ethanol_all.npz"
    np.savez(path, z=z, R=pos, E=energy[:, None], F=forces, train1=[2, 0], test1=[1])
    check(load_md17("ethanol", root=path))
    monkeypatch.setenv("SCDLAB_DATA", str(tmp_path))
    store = load_md17("ethanol")
    check(store)
    assert store.published_split()[0].index.tolist() == [2, 0]
    store.save(tmp_path / "saved")
    assert load_md17(root=path).published_split(1)[1].index.tolist() == [1]


def test_files_that_are_not_what_they_should_be(tmp_path):
    path = tmp_path / "rmd17_ethanol.npz"
    np.savez(path, **arrays())
    whole = path.read_bytes()
    for damaged in (whole[:-200], whole[:100], b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="truncated or damaged"):
            load_md17(root=path)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(ValueError, match="it is no MD17 file"):
        load_md17(root=path)
    with pytest.raises(FileNotFoundError, match=r"has no rmd17_aspirin\.npz"):
        load_md17("aspirin", root=tmp_path)
    with pytest.raises(ValueError, match=r"one of aspirin, .*got 'water'"):
        load_md17("water")


def refused(path, match):
    with pytest.raises((ValueError, OSError), match=match) as caught:
        load_md17(root=path)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".") and path.name in text
    assert caught.traceback[-1].path.parent.name == "atoms"


def test_arrays_that_are_no_frames(tmp_path):
    path = tmp_path / "rmd17_ethanol.npz"
    good = arrays(4)
    for change, match in (
        ({"coords": np.array([None, 1], dtype=object)}, "array 'coords' .*Python objects"),
        ({"energies": np.array(["a"] * 4)}, "holds <U1 under 'energies', where numbers"),
        ({"coords": good["coords"][0]}, r"coords of the shape \(3, 3\)"),
        ({"coords": good["coords"][:0]}, r"coords of the shape \(0, 3, 3\)"),
    ):
        np.savez(path, **(good | change))
        refused(path, match)
    np.save(tmp_path / "a", good["coords"])
    (tmp_path / "a.npy").replace(path)
    refused(path, "no .npz file")
    with pytest.raises(FileNotFoundError, match="There is no file or folder"):
        load_md17(root=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="one of aspirin"):
        load_md17("../ethanol", root=tmp_path)


def test_an_array_states_no_more_than_the_archive_has(tmp_path):
    path = tmp_path / "rmd17_ethanol.npz"
    header = io.BytesIO()
    about = {"descr": "<f8", "fortran_order": False, "shape": (10**12, 3, 3)}
    np.lib.format.write_array_header_1_0(header, about)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("coords.npy", header.getvalue() + bytes(800))
    refused(path, "array 'coords' .* do not fit into")


@pytest.mark.parametrize(
    ("splits", "match"),
    [
        ({"train1": [0]}, "'train1' without 'test1'"),
        ({"test2": [0]}, "'test2' without 'train2'"),
        ({"train1": [0], "test1": [4]}, "the row 4, and there are 4 frames"),
        ({"train1": [-1], "test1": [1]}, "the row -1"),
        ({"train1": [0, 0], "test1": [1]}, "names a row twice"),
        ({"train1": [0, 1], "test1": [1, 2]}, "the row 1 in 'train1' and in 'test1'"),
        ({"train1": [[0]], "test1": [1]}, "a split is a list of row numbers"),
        ({"train1": [0.5], "test1": [1]}, "a split is a list of row numbers"),
    ],
)
def test_splits_that_are_none(tmp_path, splits, match):
    path = tmp_path / "rmd17_ethanol.npz"
    np.savez(path, **arrays(4), **{name: np.array(rows) for name, rows in splits.items()})
    refused(path, match)


@pytest.mark.parametrize("rows", [b"a\n", b"1.5\n", b"\xff\xfe1\x00", b"9" * 20, b"-1\n", b""])
def test_split_files_that_are_none(tmp_path, rows):
    np.savez(tmp_path / "rmd17_ethanol.npz", **arrays(4))
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "index_train_01.csv").write_bytes(rows)
    (tmp_path / "splits" / "index_test_01.csv").write_bytes(b"2\n")
    with pytest.raises(ValueError, match=r"index_train_01\.csv|rmd17_ethanol\.npz has the split"):
        load_md17(root=tmp_path)
    (tmp_path / "splits" / "index_train_01.csv").unlink()
    (tmp_path / "splits" / "index_train_01.csv").mkdir()
    with pytest.raises(ValueError, match=r"index_train_01\.csv is no file"):
        load_md17(root=tmp_path)


def test_a_published_split_of_the_notes_is_checked():
    pos = np.random.default_rng(0).normal(size=(4, 2, 3))
    for sides, match in (
        ({"train1": [0]}, "no 'test1'"),
        ({"train1": [0], "test1": [9]}, "no 'test1' that lists some of its 4"),
        ({"train1": "ab", "test1": [1]}, "no 'train1'"),
        ({"train1": [0, [1]], "test1": [1]}, "no 'train1'"),
        ({"train1": [0, 1], "test1": [1]}, "structure 1 on both sides"),
        ([], "no published split 1"),
    ):
        store = AtomStore.from_arrays([1, 1], pos, meta={"splits": sides})
        with pytest.raises(ValueError, match=match):
            store.published_split(1)


def test_the_real_ethanol_trajectory():
    if not (REAL / "rmd17_ethanol_all.npz").is_file():
        pytest.skip(f"rmd17_ethanol_all.npz is not in {REAL}: set SCDLAB_DATA to its folder")
    store = load_md17("ethanol", root=REAL)
    assert len(store) == 9633 and store.elements == [1, 6, 8]
    assert -4300 < store.energy.mean() < -4100  # eV; ethanol in PBE is about -154.7 Ha
    for k in range(1, 6):
        train, test = store.published_split(k)
        assert len(train) == len(test) == 1000 and not set(train.index) & set(test.index)
    batch = store.published_split(1)[0].take(range(1000))
    assert (
        batch.forces.reshape(1000, 9, 3).sum(1).abs().max() < 0.02
    )  # the net force of a free molecule vanishes


# --------------------------------------------------------------------------------------------------
# downloads

BODY = np.random.default_rng(1).bytes(300_000)


class Server(http.server.ThreadingHTTPServer):
    """Serves BODY at 127.0.0.1; `cuts` are the bytes after which the coming answers break off."""

    def __init__(self, body=BODY, cuts=(), ranges=True, status=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = body
        self.cuts = list(cuts)
        self.ranges = ranges
        self.status = status
        self.asked = []
        self.url = f"http://127.0.0.1:{self.server_port}/file"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        start = int(wanted[6:-1]) if wanted and server.ranges else 0
        if server.status or start >= len(server.body):
            return self.send_error(server.status or 416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(server.body) - start))
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else None
        self.wfile.write(server.body[start:][:cut])

    def log_message(self, *_):
        """Quiet."""


def sha(body):
    return hashlib.sha256(body).hexdigest()


def test_a_broken_transfer_is_resumed_where_it_stopped(tmp_path):
    with Server(cuts=[100_000, 50_000]) as server:
        path = download(server.url, tmp_path / "f.bin", sha(BODY), wait=0, progress=False)
    assert path.read_bytes() == BODY and server.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert [p.name for p in tmp_path.iterdir()] == ["f.bin"]


def test_a_server_without_ranges_starts_over(tmp_path):
    with Server(cuts=[100_000], ranges=False) as server:
        path = download(server.url, tmp_path / "f.bin", sha(BODY), wait=0, progress=False)
    assert path.read_bytes() == BODY and server.asked == [None, "bytes=100000-"]


@pytest.mark.slow
def test_what_one_call_leaves_the_next_takes_up(tmp_path):
    with Server(cuts=[1000, 0]) as server:
        with pytest.raises(ConnectionError, match="broke off"):
            download(server.url, tmp_path / "f.bin", sha(BODY), attempts=2, wait=0, progress=False)
        assert [p.name for p in tmp_path.iterdir()] == ["f.bin.part"]
        assert (
            download(server.url, tmp_path / "f.bin", sha(BODY), progress=False).read_bytes() == BODY
        )
    assert server.asked[-1] == "bytes=1000-"
    (tmp_path / "f.bin").rename(
        tmp_path / "g.bin.part"
    )  # complete, but not yet renamed when it was stopped
    with Server() as server:
        assert (
            download(server.url, tmp_path / "g.bin", sha(BODY), progress=False).read_bytes() == BODY
        )
    assert not (tmp_path / "g.bin.part").exists()


def test_other_contents_are_refused_and_removed(tmp_path):
    with Server() as server, pytest.raises(ValueError, match="is not the published file"):
        download(server.url, tmp_path / "f.bin", sha(b"other"), progress=False)
    assert not list(tmp_path.iterdir())


def test_no_server_and_a_refusing_one(tmp_path):
    with Server(status=503) as server:
        with pytest.raises(ConnectionError, match="could not be downloaded"):
            download(server.url, tmp_path / "f.bin", sha(BODY), attempts=2, wait=0, progress=False)
        assert len(server.asked) == 2
    with pytest.raises(ConnectionError, match="could not be downloaded"):  # closed by now
        download(server.url, tmp_path / "f.bin", sha(BODY), attempts=1, progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_archive_is_fetched_unpacked_and_removed(tmp_path, monkeypatch):
    def add(tar, name, data):
        member = tarfile.TarInfo(name)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))

    npz = io.BytesIO()
    archive = io.BytesIO()
    np.savez(npz, **arrays())
    with tarfile.open(fileobj=archive, mode="w:bz2") as tar:
        add(tar, "rmd17/npz_data/rmd17_ethanol.npz", npz.getvalue())
        add(tar, "rmd17/splits/index_train_01.csv", b"7\n8\n")
        add(tar, "rmd17/splits/index_test_01.csv", b"1\n")
        add(tar, "rmd17/../../npz_data/../evil.npz", b"outside")
    with Server(archive.getvalue(), cuts=[500]) as server:
        monkeypatch.setattr(md17, "URL", server.url)
        monkeypatch.setattr(md17, "SHA256", sha(archive.getvalue()))
        own = files.cache_dir() / "rmd17" / "rmd17_aspirin.npz"  # put there by somebody
        own.parent.mkdir(parents=True)
        own.write_bytes(b"mine")
        with locked(own.parent), pytest.raises(Busy, match="is being written by process"):
            load_md17("ethanol")
        store = load_md17("ethanol")
        check(store)
        assert own.read_bytes() == b"mine"
        assert store.published_split(1)[0].index.tolist() == [7, 8]
        asked = len(server.asked)
        check(load_md17("Ethanol"))  # from the cache
        assert len(server.asked) == asked
    assert [p.name for p in files.cache_dir().iterdir()] == ["rmd17"]
    assert not list(tmp_path.rglob("evil*"))


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OSError, match="set SCDLAB_CACHE to a folder"):
        load_md17("ethanol")


def test_offline_the_remedy_is_said(monkeypatch):
    with Server() as server:
        pass
    monkeypatch.setattr(md17, "URL", server.url)
    monkeypatch.setattr("scdlab.atoms.download.time.sleep", lambda seconds: None)
    with pytest.raises(
        ConnectionError, match=r"put the file rmd17_aspirin\.npz into a folder and set SCDLAB_DATA"
    ):
        load_md17("aspirin")
    assert not list(files.cache_dir().iterdir())
