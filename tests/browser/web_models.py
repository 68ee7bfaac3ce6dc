"""The models of `site/web` in a page opened from disk, beside their originals in torch."""

import json

import ase
import numpy as np
import torch

from scdlab.files import inside_script
from scdlab.nn.model import Model
from scdlab.site import bundle, write_export

PAGE = """<!doctype html><html><head><meta charset="utf-8"></head><body>
{weights}
<script>{script}</script>
<script>
function structureOf([z, pos, cell]) {{
    return {{z, pos: Float64Array.from(pos), cell: cell && Float64Array.from(cell)}};
}}
function answer(name, structure, options) {{
    const out = models[name].forward(structureOf(structure), options);
    const entries = Object.entries(out).map(([key, x]) => [key, x?.buffer ? Array.from(x) : x]);
    return Object.fromEntries(entries);
}}
const models = {{}};
for (const [name, weights] of Object.entries(globalThis.scdlabWeights ?? {{}})) {{
    models[name] = scdlab.loadModel(weights, {{precision: {precision}}});
}}
</script></body></html>"""


class WebModels:
    """Models in a page. `page.errors`: what it wrote to its console as errors; what it wrote and
    asked for before, for other models, is forgotten."""

    def __init__(self, page, folder, precision: str = "float64", **models: Model):
        self.page = page
        tags = []
        for name, model in models.items():
            write_export(model, folder / f"{name}.js", name)
            tags.append(f'<script src="{name}.js"></script>')
        text = PAGE.format(
            weights="\n".join(tags),
            script=inside_script(bundle()),
            precision=json.dumps(precision),
        )
        self.path = folder / "models.html"
        self.path.write_text(text, encoding="utf-8")
        if not hasattr(page, "errors"):
            page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.asked = []
        page.errors = []
        page.context.set_offline(True)
        page.goto(self.path.as_uri())
        assert page.errors == []

    def __call__(self, name: str, atoms: ase.Atoms, **options) -> dict:
        """A model's answer for a structure; options are those of its `forward`."""
        size = len(atoms)
        out = self.page.evaluate(
            "([name, structure, options]) => answer(name, structure, options)",
            [name, plain(atoms), options],
        )
        for key in ("forces", "noise"):
            if out.get(key) is not None:
                out[key] = np.array(out[key])[: 3 * size].reshape(size, 3)
        return out

    def run(self, script: str, *arguments):
        """What a function in JavaScript gives."""
        return self.page.evaluate(script, list(arguments))

    def files_alone(self) -> bool:
        """Whether the page asked for nothing but files beside it, and reported no error."""
        folder = self.path.parent.as_uri()
        return self.page.errors == [] and all(a.startswith(folder) for a in self.page.asked)


def plain(atoms: ase.Atoms) -> list:
    """A structure as a page is given it."""
    cell = atoms.cell.array.ravel().tolist() if atoms.pbc.any() else None
    return [atoms.numbers.tolist(), atoms.positions.ravel().tolist(), cell]


def difference(a, b) -> float:
    """The largest difference of two arrays, relative to the largest number in the second."""
    a = np.asarray(a, float)
    b = b.detach().double().numpy() if isinstance(b, torch.Tensor) else np.asarray(b, float)
    assert a.shape == b.shape
    return float(np.abs(a - b).max() / np.abs(b).max())
