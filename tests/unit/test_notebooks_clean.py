"""The tracked notebooks: they agree with their sources and store no results, and the tool that says
so can say no."""

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pairs
import pytest
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupytext.async_contentsmanager import build_async_jupytext_contents_manager_class

SOURCE = """# %% [markdown]
# # A lesson

# %% tags=["parameters"]
PROFILE = "quick"

# %%
1 + 1
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "00_a.py").write_text(SOURCE, encoding="utf-8")
    pairs.build(tmp_path)
    return tmp_path


def edit(path, change):
    """Apply `change` to the json of a notebook."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    change(notebook)
    path.write_text(json.dumps(notebook, indent=1) + "\n", encoding="utf-8")


def test_the_lessons_agree_with_their_sources_and_store_nothing():
    assert list(pairs.NOTEBOOKS.glob("*.ipynb")), "no lesson was found"
    assert pairs.complaints() == []


def test_building_is_deterministic_and_keeps_the_tags(folder):
    first = (folder / "00_a.ipynb").read_bytes()
    assert pairs.build(folder) == []  # nothing to do
    (folder / "00_a.ipynb").unlink()
    pairs.build(folder)
    assert (folder / "00_a.ipynb").read_bytes() == first
    notebook = json.loads(first)
    assert [cell["metadata"].get("tags") for cell in notebook["cells"]] == [
        None,
        ["parameters"],
        None,
    ]
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert len({cell["id"] for cell in notebook["cells"]}) == 3


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda n: n["cells"][2].update(
                outputs=[{"output_type": "stream", "name": "stdout", "text": "2"}]
            ),
            "outputs",
        ),
        (lambda n: n["cells"][2].update(execution_count=3), "execution count"),
        (lambda n: n["metadata"].update(widgets={"state": {}}), "widget state"),
        (lambda n: n["cells"][2].update(source="1 + 2"), "differs from"),
        (lambda n: n["cells"].pop(), "differs from"),
    ],
)
def test_a_notebook_with_results_or_another_text_is_named(folder, change, complaint):
    assert pairs.complaints(folder) == []
    edit(folder / "00_a.ipynb", change)
    (found,) = pairs.complaints(folder)
    assert complaint in found
    assert "00_a" in found


def test_half_a_pair_is_named(folder):
    (folder / "00_a.ipynb").rename(folder / "01_b.ipynb")
    missing, orphan = pairs.complaints(folder)
    assert "00_a.ipynb is missing" in missing
    assert "01_b.ipynb has no source" in orphan


@pytest.mark.parametrize("newer", ["src/00_a.py", "00_a.ipynb"])
def test_a_lesson_saved_in_jupyterlab_saves_its_source(folder, newer):
    """Through JupyterLab's own contents manager, whichever half of the pair is the newer file."""
    for name in ("src/00_a.py", "00_a.ipynb"):
        os.utime(folder / name, (1e9, 1e9) if name != newer else None)
    (folder / "jupytext.toml").write_bytes((pairs.NOTEBOOKS / "jupytext.toml").read_bytes())
    manager = build_async_jupytext_contents_manager_class(AsyncLargeFileManager)(
        root_dir=str(folder)
    )

    async def edit_and_save():
        notebook = (await manager.get("00_a.ipynb", content=True, type="notebook"))["content"]
        notebook.cells[2].source = "1 + 2"
        notebook.cells[2].execution_count = 1
        await manager.save(
            {"type": "notebook", "format": "json", "content": notebook}, "00_a.ipynb"
        )

    with ThreadPoolExecutor() as thread:  # the browser tests keep an event loop in the main one
        thread.submit(asyncio.run, edit_and_save()).result()
    assert (folder / "src" / "00_a.py").read_text(encoding="utf-8") == SOURCE.replace(
        "1 + 1", "1 + 2"
    )
    assert "execution count" in pairs.complaints(folder)[0]
    pairs.build(folder)
    assert pairs.complaints(folder) == []
