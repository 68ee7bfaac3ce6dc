"""The tools for the form of the code and for the pages: each finds what it is there to find."""

import ast
import textwrap

import code_blocks
import form
import pytest
import yaml

import docs


def tree(text: str) -> ast.Module:
    return ast.parse(textwrap.dedent(text))


def test_a_block_keeps_the_lines_of_its_page():
    page = "# Title\n\n```python\nx = 1\n\ny = x\n```\n\n- item\n\n  ```python\n  z = 2\n  ```\n"
    assert code_blocks.blocks(page) == [(3, "x = 1\n\ny = x\n"), (11, "z = 2\n")]
    assert code_blocks.blocks("```\nscdlab lab\n```\n") == []


def test_a_block_without_an_end_is_named():
    with pytest.raises(ValueError, match="begins in line 2 has no end"):
        code_blocks.blocks("text\n```python\nx = 1\n")


def test_extracted_blocks_lie_at_the_lines_of_their_page(tmp_path):
    (tmp_path / "README.md").write_text("one\n\n```python\nx: int = 'text'\n```\n")
    folder = tmp_path / "blocks"
    folder.mkdir()
    written = code_blocks.extract(folder, tmp_path)
    assert list(written.values()) == ["README.md"]
    (path,) = written
    assert path.read_text().splitlines()[3] == "x: int = 'text'"


@pytest.mark.parametrize(
    ("line", "parallel"),
    [("a, b = 1, 2", True), ("a, b = b, a", False), ("a, b = f()", False), ("a = 1, 2", False)],
)
def test_swaps_and_unpacked_calls_are_no_parallel_assignments(line, parallel):
    assert form.is_parallel(tree(line).body[0]) is parallel


def test_lines_and_lengths_leave_docstrings_out():
    text = 'def f():\n    """One.\n\n    Two.\n    """\n\n    # why\n    return 1\n'
    parsed = tree(text)
    assert form.code_lines(text, parsed) == 2
    assert form.length(parsed.body[0]) == 4


def test_only_private_names_of_other_files_are_doors(tmp_path):
    first = tmp_path / "first.py"
    second = tmp_path / "second.py"
    first.write_text("_hidden = 1\n\nclass A:\n    def _own(self):\n        return other._own\n")
    second.write_text("from .first import _hidden\n\nprint(thing._own, thing._foreign)\n")
    imports, attributes = form.private_doors([first, second])
    assert [line.rpartition(": ")[2] for line in imports] == ["_hidden"]
    assert [line.rpartition(": ")[2] for line in attributes] == ["thing._own"]


@pytest.mark.slow
def test_the_table_covers_the_library():
    rows = form.measure(form.ROOT)
    assert int(rows["library: files"]) > 50
    assert "%" in rows["parallel assignments"]


DOCUMENTED = """\
Add two numbers.

Parameters
----------
a, b : float
    What is added: a note.
*rest : float
    More of it.

Returns
-------
float
    The sum.
"""


def add(a, b, *rest):
    return a + b + sum(rest)


def test_parameters_are_read_from_numpydoc():
    assert docs.parameters_described(DOCUMENTED) == {"a", "b", "rest"}
    assert list(docs.holes_of("add", add, DOCUMENTED)) == []
    assert list(docs.holes_of("add", add, None)) == ["add has no docstring"]
    short = DOCUMENTED.replace("a, b", "a")
    assert list(docs.holes_of("add", add, short)) == ["add does not describe b"]


def test_what_a_page_loads_is_found_and_what_it_links_is_not():
    loads = docs.Loads()
    loads.feed('<a href="https://one.org">x</a><script src="https://two.org/x.js"></script>')
    loads.feed('<img src="//three.org/y.png"><link rel="canonical" href="https://four.org">')
    loads.feed('<link rel="stylesheet" href="https://five.org/z.css"><pre class="mermaid"></pre>')
    assert loads.found == [
        "<script> loads https://two.org/x.js",
        "<img> loads //three.org/y.png",
        "<link> loads https://five.org/z.css",
        "a diagram would load its renderer",
    ]


def test_every_floor_has_a_page_in_the_navigation():
    text = (docs.ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    missing = [floor for floor in docs.FLOORS if f"reference/{floor}.md" not in text]
    assert missing == []


@pytest.mark.parametrize(
    ("page", "status"),
    [("[there](#title)\n\n# Title\n", 0), ("[gone](gone.md)\n", 1), ("[gone](#gone)\n", 1)],
)
def test_a_broken_link_fails_the_build(page, status, tmp_path):
    config = yaml.safe_load((docs.ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    kept = {name: config[name] for name in ("site_name", "docs_dir", "site_dir", "validation")}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump({**kept, "plugins": []}))
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(page)
    assert docs.build(tmp_path) == status
