"""Downloads that can be interrupted: a `.part` file that grows, resumed by HTTP Range, checked,
then renamed."""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

_CHUNK = 1 << 20  # bytes


def download(url, path, sha256, *, attempts=4, wait=2.0, timeout=30.0, progress=True) -> Path:
    """Fetch `url` into the file `path`, whole and with this sha256, or not at all; returns `path`.

    A transfer that breaks off is continued from `path`.part, in this call (`attempts` times, `wait`
    seconds apart) or the next. Raises ConnectionError when the server cannot be reached or keeps
    breaking off (the .part file stays, for the next time), ValueError when the complete file is not
    the published one (the .part file is removed).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for attempt in range(attempts):
        if attempt:
            time.sleep(wait)
        try:
            complete = _transfer(url, part, timeout, progress)
            trouble = "the transfer broke off"
        except (
            OSError,
            http.client.HTTPException,
        ) as error:  # URLError, timeouts and resets are OSErrors
            complete = False
            trouble = str(getattr(error, "reason", error))
        if complete:
            break
    else:
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


def _transfer(url, part, timeout, progress) -> bool:
    """Append what is missing to `part`; True when the server has sent everything it announced."""
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if (
            error.code != 416
        ):  # 416: nothing after `have`: complete, or not the same file; the checksum knows
            raise
        error.close()
        return True
    with response:
        if response.status != 206:  # the server ignores Range and starts from the beginning
            have = 0
        length = response.headers.get("Content-Length")
        total = None if length is None else have + int(length)
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
