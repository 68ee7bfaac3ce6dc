"""Downloads that can be interrupted: a `.part` file that grows, resumed by HTTP Range, checked,
then renamed."""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

_CHUNK = 1 << 20  # bytes


def download(
    url: str,
    path: str | Path,
    sha256: str,
    *,
    attempts: int = 4,
    wait: float = 2.0,
    timeout: float = 30.0,
    progress: bool = True,
) -> Path:
    """Fetch a file, whole and with this checksum, or not at all.

    A transfer that breaks off is continued from `path`.part, in this call or the next.

    Parameters
    ----------
    url : str
        Where it is.
    path : str or Path
        Where it goes.
    sha256 : str
        Its checksum, as hexadecimal text.
    attempts : int, default 4
        Times to try in this call.
    wait : float, default 2.0
        Seconds between attempts.
    timeout : float, default 30.0
        Seconds without data after which an attempt ends.
    progress : bool, default True
        Whether to show a bar.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ConnectionError
        When the server cannot be reached or keeps breaking off; the .part file stays, for the next
        time.
    ValueError
        When the complete file is not the published one; the .part file is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    complete = False
    trouble = "no attempt was made"
    for attempt in range(attempts):
        if attempt:
            time.sleep(wait)
        try:
            complete = _transfer(url, part, timeout, progress)
            trouble = "the transfer broke off"
        # URLError, timeouts and resets are OSErrors
        except (OSError, http.client.HTTPException) as error:
            trouble = str(getattr(error, "reason", error))
        if complete:
            break
    if not complete:
        raise ConnectionError(
            f"{url} could not be downloaded ({trouble}): try again, and it goes on where it "
            "stopped."
        )
    with open(part, "rb") as f:
        found = hashlib.file_digest(f, "sha256").hexdigest()
    if found != sha256:
        part.unlink()
        raise ValueError(
            f"{url} is not the published file (sha256 {found[:12]}…, expected {sha256[:12]}…): try "
            "again."
        )
    part.replace(path)
    return path


def _transfer(url: str, part: Path, timeout: float, progress: bool) -> bool:
    """Append what is missing to `part`; True when the server has sent everything it announced."""
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        # 416: nothing after `have`: complete, or not the same file: the checksum decides
        if error.code != 416:
            raise
        error.close()
        return True
    with response:
        if response.status != 206:  # the server ignores Range and starts from the beginning
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None and length.isdigit() else None
        bar = tqdm(
            total=total,
            initial=have,
            desc=part.stem,
            unit="B",
            unit_scale=True,
            delay=1,
            disable=not progress,
        )
        with open(part, "ab" if have else "wb") as f, bar:
            while chunk := response.read(_CHUNK):
                f.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
    return total is None or have == total
