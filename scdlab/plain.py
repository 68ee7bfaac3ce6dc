"""Values as json holds them: read from a file and checked, made plain, digested."""

import enum
import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_DEEPEST = 100  # levels of a json file: what walks through it need not look again
_LARGEST = 1 << 29  # bytes of a json file; the largest of ours hold splits of some million numbers


def read_json(
    path: str | os.PathLike,
    what: str = "file",
    remedy: str = "make or copy it again",
    finite: bool = True,
) -> dict[str, Any]:
    """The object that a json file holds.

    Parameters
    ----------
    path : str or path
        The file.
    what : str, default "file"
        What the file describes, for errors: "description of a model".
    remedy : str, default "make or copy it again"
        What to do about a file that cannot be read, for errors.
    finite : bool, default True
        Whether NaN and infinite numbers are refused.

    Returns
    -------
    dict
        Its entries.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        For a file that is not UTF-8, no json, nested too deeply, too large or no object, and for
        one with an entry given twice or, unless allowed, a number that is NaN or infinite.
    OSError
        For a file that the system cannot read.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise ValueError("it is no file")
        if size > _LARGEST:
            raise ValueError(f"it has {size:,} bytes, more than any has")
        text = path.read_bytes().decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_once,
            parse_float=_finite if finite else None,
            parse_constant=_constant if finite else None,
        )
        if re.search(r"\\ud[89a-f]", text, re.IGNORECASE):  # half of a character, maybe
            json.dumps(value, ensure_ascii=False).encode()
        if re.search("[0-9]{309}", text):
            raise ValueError("it has a number of more than 308 digits")
        _check_depth(value)
        if not isinstance(value, dict):
            raise ValueError(f"it holds a {type(value).__name__}, not an object {{…}}")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no {what} {path}: check the path.") from error
    except OSError as error:
        raise described(error, f"The {what} {path} cannot be read ({{}}): {remedy}.") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no readable {what} ({_reason(error)}): {remedy}.") from error
    return value


def _check_depth(value: Any) -> None:
    """Raise ValueError for lists and objects within each other beyond `_DEEPEST`."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(_DEEPEST):
        inside = (each.values() if isinstance(each, dict) else each for each in level)
        level = [v for values in inside for v in values if isinstance(v, dict | list)]
        if not level:
            return
    raise ValueError(f"it is nested more than {_DEEPEST} levels deep")


def plain(value: Any, where: str = "the value") -> Any:
    """A value as json can hold it: numbers of numpy and torch become Python's, paths text.

    Parameters
    ----------
    value : object
        Numbers, text, lists, tuples, mappings with text as keys, arrays, paths, members of an
        enumeration, and None.
    where : str, default "the value"
        What it is, for the error.

    Returns
    -------
    json value
        dict, list, str, int, float, bool or None.

    Raises
    ------
    TypeError
        For anything else, with the entry that holds it.
    """
    if isinstance(value, enum.Enum):
        return plain(value.value, where)
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, bool | int | float | str):  # of a class of its own, numpy's float64 too
        kind = next(k for k in (bool, int, float, str) if isinstance(value, k))
        return kind(value)
    if isinstance(value, Mapping):
        return {_key(key, where): plain(each, f"{where}[{key!r}]") for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each, f"{where}[{k}]") for k, each in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if hasattr(value, "tolist") and not isinstance(value, bytes):  # arrays, tensors, their numbers
        return plain(value.tolist(), where)
    raise TypeError(
        f"{where} is a {type(value).__name__}, which json cannot hold: give numbers, text, lists "
        "or mappings of these."
    )


def digest(path: str | os.PathLike) -> str:
    """sha256 of a file.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    str
        Hexadecimal.
    """
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def content_digest(content: Mapping) -> str:
    """sha256 of what a json file holds, in canonical form: sorted keys, no spaces.

    Parameters
    ----------
    content : mapping
        The entries; "digest" is left out.

    Returns
    -------
    str
        Hexadecimal.
    """
    rest = {key: value for key, value in content.items() if key != "digest"}
    text = json.dumps(
        rest,
        default=plain,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def has_absolute_path(content: Any) -> bool:
    """Whether a value holds a path of some machine, which makes no sense elsewhere.

    Parameters
    ----------
    content : json value
        What is to be published.

    Returns
    -------
    bool
        Whether there is such a path.
    """
    return bool(
        re.search(r'"(/|[A-Za-z]:\\\\|~)|/(home|root|tmp|Users|work)/', json.dumps(content))
    )


def described(error: OSError, sentence: str) -> OSError:
    """An error of the system as a sentence, of the same class and number.

    Parameters
    ----------
    error : OSError
        What the system raised.
    sentence : str
        What failed and the remedy, with `{}` where the system's reason belongs.

    Returns
    -------
    OSError
        To be raised from `error`.
    """
    reason = (error.strerror or str(error) or type(error).__name__).rstrip(".")
    new = type(error)(sentence.replace("{}", reason[:1].lower() + reason[1:], 1))
    new.errno = error.errno
    return new


def _key(key: Any, where: str) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return str(key)
    key = key.item() if hasattr(key, "item") else key
    if isinstance(key, bool | int | float):  # as json itself writes them
        return json.dumps(key)
    raise TypeError(
        f"{where} has the key {key!r} ({type(key).__name__}), which json cannot hold: use text."
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is given twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is infinite")
    return value


def _constant(text: str) -> float:
    raise ValueError(f"it holds {text}, which is no finite number")


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeError):
        return "it is not UTF-8 text"
    return str(error).rstrip(".")
