"""The animated picture of the README: a widget of lesson 02 while its noise goes up and down.

    python tools/picture.py      about a minute; writes docs/images/noise.gif

A real JupyterLab and a real Chromium, started as the browser tests start them; nothing leaves the
machine. A cell makes `NoiseExplorer` with the shipped denoising network. At each σ of `SIGMAS` the
widget is photographed as soon as two pictures in a row are alike; the gif runs through them and
back. Molecule, noise and network are fixed, so a second run on one machine writes the same bytes.
Needs the extras `lessons`, `chem`, `bench` and `dev`, and a Chromium.
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "images" / "noise.gif"
MOST = 1.5e6  # bytes: a page's picture must not be slow to load
SIGMAS = np.geomspace(0.01, 0.06, 16).round(4)  # Å; arrows have one scale from 0.01 to 0.1
WIDTH = 900  # pixels
MARGIN = 12  # pixels of the screen
COLORS = 200
STEP = 200  # ms a picture stands
TURN = 1600  # ms at both ends
MOLECULE = "C#CC(=O)C=C"  # has single, double and triple bonds
SEED = 2
CELL = f"""import scdlab
from scdlab.explore import NoiseExplorer
network = scdlab.load_pretrained("coord-et")
explorer = NoiseExplorer(model=network, source="{MOLECULE}", sigma={SIGMAS[0]}, seed={SEED})
explorer"""
IDLE = """() => jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status == 'idle'"""


def take(browser, lab: str) -> list[Image.Image]:
    """A picture of the widget at each σ of `SIGMAS`."""
    from test_lab import ASK
    from test_molecule_view import DRAWN, READY, put_notebook

    page = browser.new_page(viewport={"width": 1500, "height": 1200})
    page.goto(put_notebook(lab, "view.ipynb", CELL))
    page.wait_for_function(READY, timeout=120_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(DRAWN, arg=1, timeout=120_000)
    widget = page.locator(".jp-OutputArea-output .widget-vbox").first
    widget.scroll_into_view_if_needed()
    stage = widget.locator(".scdlab-view .stage")
    stage.focus()
    stage.press("+")
    stage.blur()
    pictures = []
    for sigma in SIGMAS:
        problem = page.evaluate(ASK, f"explorer.sigma = {sigma}; print(explorer.message.value)")
        if problem:
            raise SystemExit(f"The widget reports a problem, so there is no picture: {problem}")
        page.wait_for_function(IDLE, timeout=120_000)
        pictures.append(settled(page, widget))
    page.evaluate("() => jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    page.close()
    return pictures


def settled(page, widget) -> Image.Image:
    """A screenshot of the widget, once it does not change any more."""
    last = None
    for _ in range(40):
        page.wait_for_timeout(400)
        png = widget.screenshot(animations="disabled")
        if png == last:
            return Image.open(io.BytesIO(png)).convert("RGB")
        last = png
    raise SystemExit("The widget does not come to rest, so no picture of it was taken.")


def cropped(pictures: list[Image.Image]) -> list[Image.Image]:
    """The pictures with an even margin of white, at `WIDTH`."""
    dark = np.min([np.asarray(picture).min(axis=-1) for picture in pictures], axis=0) < 250
    rows = np.flatnonzero(dark.any(axis=1))
    columns = np.flatnonzero(dark.any(axis=0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    framed = [ImageOps.expand(picture.crop(box), MARGIN, "white") for picture in pictures]
    size = (WIDTH, round(WIDTH * framed[0].height / framed[0].width))
    return [picture.resize(size, Image.Resampling.LANCZOS) for picture in framed]


def with_one_palette(pictures: list[Image.Image]) -> list[Image.Image]:
    """The pictures in the same `COLORS` colors, white among them."""
    pixels = np.concatenate([np.asarray(picture).reshape(-1, 3) for picture in pictures])
    # Each color counts once: by pixels, shades of gray would displace the arrows' colors.
    colors, which = np.unique(pixels, axis=0, return_inverse=True)
    few = Image.fromarray(colors[None]).quantize(COLORS, method=Image.Quantize.MEDIANCUT)
    table = np.array(few.getpalette(), float).reshape(-1, 3)
    table[table.sum(axis=1).argmax()] = 255
    distance = (table**2).sum(axis=1) - 2 * colors.astype(float) @ table.T  # less |color|²
    shape = (len(pictures), pictures[0].height, pictures[0].width)
    indices = distance.argmin(axis=1)[which].reshape(shape).astype(np.uint8)
    found = []
    for each in indices:
        image = Image.fromarray(each)
        image.putpalette(table.astype(np.uint8).ravel().tolist())
        found.append(image)
    return found


def write(pictures: list[Image.Image], path: Path) -> None:
    """Write there and back as an endless gif."""
    plain = with_one_palette(pictures)
    there_and_back = [*plain, *plain[-2:0:-1]]
    durations = [STEP] * len(there_and_back)
    durations[0] = TURN
    durations[len(plain) - 1] = TURN
    path.parent.mkdir(exist_ok=True)
    there_and_back[0].save(
        path,
        save_all=True,
        append_images=there_and_back[1:],
        duration=durations,
        loop=0,
        optimize=True,
    )


def main() -> None:
    """Take the pictures and write them; refuse a file that is too large."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT, help="the gif")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests" / "browser"))
    from conftest import launched, running_lab

    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        (Path(folder) / "notebooks").mkdir()
        with running_lab(Path(folder)) as lab:
            pictures = take(browser, lab)
    write(cropped(pictures), options.out)
    size = options.out.stat().st_size
    if size > MOST:
        raise SystemExit(
            f"{options.out} has {size / 1e6:.1f} MB and may have {MOST / 1e6:.1f}: take fewer "
            "steps or colors."
        )
    print(f"{options.out}: {len(pictures)} pictures, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
