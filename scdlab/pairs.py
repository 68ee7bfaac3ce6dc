"""Two files that change at one instant: the weights of a model, and the json that describes them.

The new weights come to lie beside their place as `.STEM.<16 digits of their sha256>.SUFFIX`. Then
the json, which holds their whole digest, is renamed into place: from this instant on, the pair is
the new one. Last, the weights get their name. Whenever a writer is killed, the old pair can be read
or the new one.
"""

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from scdlab.atomic import flush, remove, sentence, sweep, target, temporary, write_json
from scdlab.locks import locked
from scdlab.plain import digest, plain, read_json

DIGEST = "weights_sha256"  # the entry of the json that names the weights
_TRIES = 100  # of a reader, while writers are at work

T = TypeVar("T")


def write_pair(
    weights: str | os.PathLike,
    description: str | os.PathLike,
    write: Callable[[Path], None],
    describe: Callable[[str], dict[str, Any]],
) -> None:
    """Write weights and their json at one instant.

    Parameters
    ----------
    weights : str or path
        The file of the weights.
    description : str or path
        The json file.
    write : callable
        Writes the weights to a path.
    describe : callable
        The content of the json, given the sha256 of the weights, which it holds as
        "weights_sha256". It is made plain (`scdlab.plain.plain`).

    Raises
    ------
    Busy
        When another process writes this pair.
    FileExistsError
        When something else stands there: a json of another "format", weights without a json.
    OSError
        Where it cannot be written, in a sentence.
    """
    weights = target(weights)
    description = target(description)
    with sentence(weights), locked(description.with_suffix("")):
        _check_replaced(weights, description, plain(describe("")).get("format"))
        for each in (weights, description):
            sweep(each)
        with temporary(weights) as new:
            mode = new.stat().st_mode
            write(new)
            os.chmod(new, mode)  # the writer may have made it anew, and private
            flush(new)
            sha256 = digest(new)
            pending = _pending(weights, sha256)
            os.replace(new, pending)
        try:
            write_json(description, describe(sha256), sync=True)
        except BaseException:  # an interrupt may come after the rename as well
            if _named(description) == sha256:
                os.replace(pending, weights)
            else:
                pending.unlink()
            raise
        os.replace(pending, weights)
        flush(weights.parent)
        for each in _all_pending(weights):  # of writers that were killed
            remove(each)


def read_pair(
    weights: str | os.PathLike,
    description: str | os.PathLike,
    read: Callable[[dict[str, Any], Path], T],
    what: str = "description of a model",
    check: Callable[[dict[str, Any]], None] | None = None,
) -> T:
    """Read weights and their json as they were at one instant, whatever a writer does meanwhile.

    Parameters
    ----------
    weights : str or path
        The file of the weights.
    description : str or path
        The json file.
    read : callable
        What is wanted of the content of the json and the path of the weights, whose digest is
        right. It may be called again, when the file was replaced while it was read.
    what : str, default "description of a model"
        What the json is, for errors.
    check : callable, optional
        Raises ValueError for a json that describes something else, before the weights are read.

    Returns
    -------
    object
        What `read` returned.

    Raises
    ------
    FileNotFoundError
        When there is no such json, or no weights.
    ValueError
        For a json that cannot be read or names no weights, and for weights of another digest.
    """
    weights = target(weights)
    description = Path(description)
    for _ in range(_TRIES):
        before = _state(description), _state(weights)
        about = read_json(description, what, "save it again, or copy both files again")
        if check is not None:
            check(about)
        sha256 = about.get(DIGEST)
        if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
            raise ValueError(
                f"{description} names no weights (its {DIGEST} is {str(sha256)[:80]!r}): save it "
                "again, or copy both files again."
            )
        for path in (weights, _pending(weights, sha256)):
            state = _state(path)
            try:
                if state is None or digest(path) != sha256:
                    continue
                found = read(about, path)
            except (OSError, ValueError):
                if _state(path) == state:
                    raise
                continue
            if _state(path) == state:
                return found
        if before == (_state(description), _state(weights)):
            break  # no writer is at work
    if not weights.is_file():
        raise FileNotFoundError(
            f"There are no weights {weights} for {description.name}: copy both files again."
        )
    raise ValueError(
        f"{weights} is damaged or belongs to another {description.name} (its digest differs): "
        "copy both files again."
    )


def _check_replaced(weights: Path, description: Path, kind: Any) -> None:
    """Raise FileExistsError where something else than a pair of this kind would be replaced."""
    remedy = "remove it, or choose another path"
    if os.path.lexists(description):
        try:
            old = read_json(description, finite=False).get("format")
        except (OSError, ValueError) as error:
            raise FileExistsError(
                f"{description} stands there already and cannot be read: {remedy}."
            ) from error
        if old != kind:
            raise FileExistsError(
                f"{description} stands there already and holds something else (its format is "
                f"{old!r}, not {kind!r}): {remedy}."
            )
    elif os.path.lexists(weights):
        raise FileExistsError(
            f"{weights} stands there already, without the {description.name} of a model that "
            f"could be replaced: {remedy}."
        )


def _pending(weights: Path, sha256: str) -> Path:
    return weights.with_name(f".{weights.stem}.{sha256[:16]}{weights.suffix}")


def _all_pending(weights: Path) -> list[Path]:
    pattern = re.compile(
        re.escape(f".{weights.stem}.") + "[0-9a-f]{16}" + re.escape(weights.suffix)
    )
    names = os.listdir(weights.parent)
    return [weights.with_name(name) for name in names if pattern.fullmatch(name)]


def _named(description: Path) -> str | None:
    """The digest of the weights that the json on disk names."""
    try:
        return read_json(description, finite=False).get(DIGEST)
    except (OSError, ValueError):
        return None


def _state(path: Path) -> tuple | None:
    """What changes when a file is replaced or written; None without a file, such as for a pipe, of
    which nothing may ever come."""
    try:
        found = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
