"""Ways in which a file gets damaged: bytes, lines of text, json, arrays, archives, weights.

Every function takes a random.Random and the content, and returns the damaged content with a few
words on what was done. The same state of the generator gives the same damage.
"""

import io
import json
import pickle
import random
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

# what stands where something else was expected
NUMBERS = (0, -1, 1, 2, 3.5, -0.0, 1e308, -1e308, 1e-320, 10**9, 10**18, 2**63, -(2**63), 10**400)
VALUES = (*NUMBERS, float("nan"), float("inf"), None, True, False, "", "x", "é\n", [], {}, [[]])
WORDS = (
    *("0", "-1", "1", "7", "nan", "inf", "-inf", "1e308", "-1e308", "1e-320", "1e999", "", "x"),
    *("999999999", "1000000000000000000", "99999999999999999999999", "1" * 400, "0x10", "1,5", "é"),
    *("None", "True", "[]", "{}", '"', "'", "\x00", "\\", "%s", "*", "-", ".", "=", ":", ";", "#"),
    *("()", "../../etc", "[" * 2000, "{" * 2000, "Xx", "H", "Uuo", "1.0.0", "--5", "1e", "\t"),
)
KINDS = ("<f4", "<f8", ">f8", "<f2", "<i8", "<u1", "<i2", "<u8", "<c16", "?", "<U3", "S2", "<M8[s]")


def canary(path: str) -> bytes:
    """A pickle that makes the file `path` when somebody loads it."""

    class Made:
        def __reduce__(self) -> tuple:
            return open, (path, "w")

    return pickle.dumps(Made())


# --------------------------------------------------------------------------------------------------
# bytes


def flip(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """A few bits."""
    new = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        at = rng.randrange(len(new))
        new[at] ^= 1 << rng.randrange(8)
    return bytes(new), "bits flipped"


def write_over(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Random bytes, zeros or ones over a part."""
    at = rng.randrange(len(data))
    size = min(rng.choice((1, 2, 4, 8, 64, 512)), len(data) - at)
    fill = rng.choice((rng.randbytes(size), b"\0" * size, b"\xff" * size))
    return data[:at] + fill + data[at + size :], f"{size} bytes written over at {at}"


def cut(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """The end is missing."""
    at = rng.choice((rng.randrange(len(data)), max(0, len(data) - rng.randrange(1, 9))))
    return data[:at], f"truncated to {at} bytes"


def lose(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """A part in the middle is missing."""
    at = rng.randrange(len(data))
    size = rng.choice((1, 2, 4, 16, 512))
    return data[:at] + data[at + size :], f"{size} bytes lost at {at}"


def repeat(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """A part stands twice, or something stands between."""
    at = rng.randrange(len(data))
    part = rng.choice((data[at : at + rng.choice((1, 8, 512))], rng.randbytes(8), b"\0", b"\n\n"))
    return data[:at] + part + data[at:], f"{len(part)} bytes inserted at {at}"


def append(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Something follows the end."""
    more = rng.choice((b"\0" * 64, b"x", b"\n", rng.randbytes(100), data))
    return data + more, f"{len(more)} bytes appended"


def exchange(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Two parts change places."""
    a, b, c = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:], "two parts exchanged"


def integers(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """A binary integer becomes another: counts and offsets of archives, headers and databases."""
    kind, values = rng.choice(
        (
            ("<I", (0, 1, 2**31, 2**32 - 1, 10**6)),
            ("<q", (0, -1, 2**40, 2**62, 10**6, 10**9)),
            (">I", (0, 1, 2**31, 2**32 - 1)),
            ("<H", (0, 1, 2**16 - 1)),
            ("<d", (float("nan"), float("inf"), -1e308, 0.0)),
        )
    )
    size = struct.calcsize(kind)
    if len(data) < size:
        return b"", "emptied"
    at = rng.randrange(len(data) - size + 1)
    at -= at % rng.choice((1, size))
    value = rng.choice(values)
    return data[:at] + struct.pack(kind, value) + data[at + size :], f"{value} at {at}"


def digits(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Digits of a number written as text become others, length kept."""
    runs = [found.span() for found in re.finditer(rb"\d+", data[:200_000])]
    if not runs:
        return flip(rng, data)
    a, b = rng.choice(runs)
    new = "".join(rng.choice("0123456789") for _ in range(b - a)).encode()
    return data[:a] + new + data[b:], f"{data[a:b][:20]!r} became {new[:20]!r}"


def signatures(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """A field after a signature of an archive, a database or a list of arrays."""
    marks = [found.start() for found in re.finditer(rb"PK..|\x93NUMPY|SQLite|- of Ulm", data)]
    if not marks:
        return integers(rng, data)
    at = min(rng.choice(marks) + rng.randrange(46), len(data) - 1)
    value = rng.choice((0, 1, 255, 128, rng.randrange(256)))
    return data[:at] + bytes([value]) + data[at + 1 :], f"{value} in a header, at {at}"


BYTES = (flip, flip, write_over, cut, lose, repeat, append, exchange, integers, digits, signatures)


# --------------------------------------------------------------------------------------------------
# text


def lines(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Lines are removed, doubled, exchanged, emptied, or stand many times."""
    rows = data.split(b"\n")
    k = rng.randrange(len(rows))
    what = rng.choice(("removed", "doubled", "exchanged", "emptied", "cut", "many", "joined"))
    if what == "removed":
        del rows[k : k + rng.choice((1, 1, 2, 5))]
    elif what == "doubled":
        rows.insert(k, rows[k])
    elif what == "exchanged":
        other = rng.randrange(len(rows))
        rows[k], rows[other] = rows[other], rows[k]
    elif what == "emptied":
        rows[k] = rng.choice((b"", b" ", b"\t", b"#"))
    elif what == "cut":
        rows[k] = rows[k][: rng.randrange(len(rows[k]) + 1)]
    elif what == "many":
        rows[k : k + 1] = [rows[k]] * rng.choice((10, 1000))
    else:
        rows[k : k + 2] = [b" ".join(rows[k : k + 2])]
    return b"\n".join(rows), f"line {k + 1} {what}"


def words(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Words of the text become others or vanish."""
    pattern = rng.choice((rb"\S+", rb"-?\d+\.?\d*(?:[eE][-+]?\d+)?", rb"[A-Za-z_]+", rb"[^\s\w]"))
    spans = [found.span() for found in re.finditer(pattern, data[:200_000])]
    if not spans:
        return lines(rng, data)
    a, b = rng.choice(spans)
    word = rng.choice((*WORDS, None))
    new = data[slice(*rng.choice(spans))] if word is None else word.encode()
    return data[:a] + new + data[b:], f"{data[a:b][:30]!r} became {new[:30]!r}"


def counts(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """One of the first integers of the text becomes another: how many there are."""
    spans = [found.span() for found in re.finditer(rb"(?<![\d.])\d+(?![\d.])", data[:2000])]
    if not spans:
        return words(rng, data)
    a, b = rng.choice(spans[:8])
    new = str(rng.choice((0, -1, 2, 10**4, 10**7, 10**9, 10**12, 10**18, 10**30))).encode()
    return data[:a] + new + data[b:], f"the count {data[a:b]!r} became {new!r}"


def encoding(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """The text is written in another way than expected."""
    text = data.decode("utf-8", "replace")
    at = rng.randrange(len(text) + 1)
    what, new = rng.choice(
        (
            ("utf-16", lambda: text.encode("utf-16")),
            ("utf-32", lambda: text.encode("utf-32")),
            ("a mark of utf-8", lambda: b"\xef\xbb\xbf" + data),
            ("CRLF", lambda: data.replace(b"\n", b"\r\n")),
            ("CR", lambda: data.replace(b"\n", b"\r")),
            ("latin-1", lambda: (text[:at] + "é ÿ" + text[at:]).encode("latin-1", "replace")),
            ("NUL", lambda: data.replace(b" ", b"\0")),
            ("wide spaces", lambda: text.replace(" ", "\u00a0").encode()),
            ("other digits", lambda: text.replace("1", "١").encode()),
            ("no line ends", lambda: data.replace(b"\n", b" ")),
            ("upper case", lambda: data.upper()),
        )
    )
    return new(), f"written with {what}"


def deep(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """Brackets nested far too deep."""
    kind = rng.choice((b"[", b"(", b"{", b'{"a":', b"[[", b"<a>", b'"'))
    many = kind * rng.choice((50, 3000, 100_000))
    at = rng.choice((0, rng.randrange(len(data) + 1)))
    whole = rng.random() < 0.3
    return (many if whole else data[:at] + many + data[at:]), f"{len(many)} × {kind!r}"


TEXT = (lines, words, words, words, counts, encoding, deep)


# --------------------------------------------------------------------------------------------------
# json


def json_value(rng: random.Random, value: Any) -> str:
    """Damage somewhere in what json holds, in place; says what was done."""
    places = _places(value)
    if not places:
        return "nothing"
    holder, key = rng.choice(places)
    what = rng.choice(("drop", "rename", "retype", "retype", "replace", "replace", "nest", "swap"))
    if what == "drop":
        del holder[key]
    elif what == "rename" and isinstance(holder, dict):
        holder[rng.choice((f"{key}x", "", "é", str(key).upper()))] = holder.pop(key)
    elif what == "retype":
        old = holder[key]
        holder[key] = rng.choice((str(old), [old], {"a": old}, None, bool(old), 1, "x", []))
    elif what == "nest":
        nested: Any = holder[key]
        for _ in range(rng.choice((1, 50, 900))):
            nested = [nested]
        holder[key] = nested
    elif what == "swap":
        other, name = rng.choice(places)
        holder[key], other[name] = other.get(name) if isinstance(other, dict) else 0, holder[key]
    else:
        holder[key] = rng.choice(VALUES)
    return f"{key!r}: {what}"


def _places(value: Any, depth: int = 0) -> list[tuple[Any, Any]]:
    """(holder, key) of everything that lies in a value, the upper levels first."""
    if depth > 8:
        return []
    keys = list(value) if isinstance(value, dict) else range(len(value[:50]))
    here = [(value, key) for key in keys]
    for key in keys:
        if isinstance(value[key], dict | list):
            here += _places(value[key], depth + 1)
    return here


def as_json(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """A json file with something else in one place."""
    try:
        value = json.loads(data)
    except ValueError:
        return words(rng, data)
    if rng.random() < 0.05:
        value = rng.choice((value and [value], *VALUES))
        return json.dumps(value).encode(), "another value altogether"
    what = json_value(rng, value)
    return json.dumps(value).encode(), what


# --------------------------------------------------------------------------------------------------
# arrays


def array(rng: random.Random, value: np.ndarray) -> tuple[np.ndarray, str]:
    """An array with other values, type or shape."""
    what = rng.choice(("values", "values", "type", "shape", "length", "empty", "object", "scalar"))
    try:
        if what == "values" and value.size:
            value = value.copy()
            new = rng.choice([each for each in NUMBERS if abs(each) < 2**63])
            value.reshape(-1)[rng.randrange(value.size)] = rng.choice((new, float("nan"), -1, 0))
        elif what == "type":
            value = value.astype(rng.choice(KINDS))
        elif what == "shape":
            shapes = [(-1,), value.shape[::-1], (1, *value.shape), (*value.shape, 1), (-1, 2)]
            value = value.reshape(rng.choice(shapes))
        elif what == "length" and value.ndim:
            value = rng.choice((value[:-1], value[1:], np.concatenate([value, value])))
        elif what == "empty":
            value = rng.choice((value[:0] if value.ndim else value, np.zeros((0, 3)), np.zeros(0)))
        elif what == "object":
            value = np.array([None, {"a": 1}, *value.reshape(-1)[:3].tolist()], dtype=object)
        elif what == "scalar":
            value = np.asarray(rng.choice((1, 0.5, "x", True)))
    except (ValueError, OverflowError, TypeError):  # no such cast or shape
        return np.zeros(3), "zeros [3]"
    return value, what


def arrays(rng: random.Random, content: dict[str, np.ndarray]) -> tuple[dict, str]:
    """Named arrays of which some are missing, renamed, exchanged or damaged."""
    content = dict(content)
    key = rng.choice(list(content))
    what = rng.choice(("drop", "rename", "swap", "more", "damage", "damage", "damage", "damage"))
    if what == "drop":
        del content[key]
    elif what == "rename":
        content[rng.choice((key.upper(), key + "x", "data", "R", "z"))] = content.pop(key)
    elif what == "swap":
        other = rng.choice(list(content))
        content[key], content[other] = content[other], content[key]
    elif what == "more":
        content[rng.choice(("extra", "train1", "test1", "cell", "pbc", "n_atoms", "energy"))] = (
            array(rng, content[key])[0]
        )
    else:
        content[key], what = array(rng, content[key])
    return content, f"{key}: {what}"


def as_npz(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """An .npz file of damaged arrays."""
    with np.load(io.BytesIO(data)) as file:
        content = {name: file[name] for name in file.files}
    content, what = arrays(rng, content)
    new = io.BytesIO()
    save = rng.choice((np.savez, np.savez, np.savez_compressed))
    save(new, **content)
    return new.getvalue(), what


def as_arrays(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """The same, with arrays that torch can hold."""
    while True:
        new, what = as_npz(rng, data)
        try:
            with np.load(io.BytesIO(new)) as file:
                for name in file.files:
                    torch.from_numpy(file[name])
        except (ValueError, TypeError):
            continue
        return new, what


def as_npy(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """An .npy file of a damaged array, or with a damaged header."""
    if rng.random() < 0.4:
        size = int.from_bytes(data[8:10], "little")
        head, what = rng.choice((words, counts, deep))(rng, data[10 : 10 + size])
        head = head[: 2**16 - 1]
        return data[:8] + struct.pack("<H", len(head)) + head + data[10 + size :], what
    value, what = array(rng, np.load(io.BytesIO(data)))
    new = io.BytesIO()
    np.save(new, value)
    return new.getvalue(), what


# --------------------------------------------------------------------------------------------------
# weights


def tensors(rng: random.Random, content: dict) -> str:
    """Damage to named tensors, in place."""
    key = rng.choice(list(content))
    what = rng.choice(("drop", "rename", "more", "type", "shape", "nan", "values", "number"))
    value = content[key]
    if what == "drop":
        del content[key]
    elif what == "rename":
        content[rng.choice((1, "x", f"{key}.0", key.split(".")[-1] + "_"))] = content.pop(key)
    elif what == "more":
        content[rng.choice(("x", "average.9999", "model.x"))] = torch.zeros(2)
    elif not isinstance(value, torch.Tensor):
        content[key] = rng.choice(VALUES)
    elif what == "type":
        content[key] = value.to(rng.choice((torch.float64, torch.int64, torch.bool, torch.half)))
    elif what == "shape":
        content[key] = rng.choice((value[None], value.reshape(-1)[:1], value.reshape(-1)))
    elif what == "nan":
        content[key] = torch.full(value.shape, float("nan"))
    elif what == "values":
        content[key] = (value + 1).to(value.dtype)
    else:
        content[key] = rng.choice((torch.zeros(0), torch.zeros(()), torch.zeros(3, 0)))
    return f"{key}: {what}"


def as_safetensors(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """A file of tensors with a damaged header or damaged tensors."""
    size = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + size])
    about = head.get("__metadata__", {})
    how = rng.random()
    if how < 0.3:
        what = json_value(rng, head)
    elif how < 0.6 and about:  # what is described there, json within json
        key = rng.choice(list(about))
        inner, what = as_json(rng, about[key].encode())
        about[key] = inner.decode()
    else:
        content = {}
        with torch.no_grad():
            from safetensors.torch import load, save

            content = load(data)
            what = tensors(rng, content)
            named = {str(key): value.contiguous() for key, value in content.items()}
            return save(named, metadata=about or None), what
    new = json.dumps(head).encode()
    return struct.pack("<Q", len(new)) + new + data[8 + size :], what


def as_ckpt(rng: random.Random, data: bytes) -> tuple[bytes, str]:
    """A file of torch.save with other content; the original is ours."""
    content = torch.load(io.BytesIO(data), weights_only=True)
    part = rng.choice(list(content))
    if part == "state_dict" and rng.random() < 0.8:
        what = tensors(rng, content[part])
    else:
        what = json_value(rng, content)
    new = io.BytesIO()
    torch.save(content, new)
    return new.getvalue(), what


#: For each kind of content: its own ways, beside those of bytes.
WAYS: dict[str, tuple[Callable, ...]] = {
    "text": TEXT,
    "json": (as_json, as_json, as_json, words, deep, encoding),
    "npz": (as_npz, as_npz),
    "line": TEXT,
    "arrays": (as_arrays,),
    "npy": (as_npy, as_npy),
    "safetensors": (as_safetensors, as_safetensors),
    "ckpt": (as_ckpt, as_ckpt),
    "binary": (),
}
#: Kinds that the campaign reads itself and hands on as objects: never damaged as files.
INNER = ("line", "arrays")
