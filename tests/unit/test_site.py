"""Models and their JavaScript on the way to a page: weights, and the modules as one script."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import web
from helpers import ct, schnet

import scdlab
from scdlab.files import inside_script
from scdlab.site import bundle, bundling, export, export_model, write_export


def tensors_of(about: dict, data: bytes) -> dict[str, np.ndarray]:
    return {
        name: np.frombuffer(
            data, each["dtype"], int(np.prod(each["shape"], dtype=int)), each["offset"]
        ).reshape(each["shape"])
        for name, each in about["tensors"].items()
    }


def test_every_weight_is_there_bit_for_bit():
    model = ct()
    model.energy_head.reference[6] = -1035.123456789012
    model.trained_elements[[1, 6]] = True
    about = json.loads(json.dumps(export_model(model), allow_nan=False))
    there = tensors_of(about, base64.b64decode(about["data"]))
    state = model.state_dict()
    assert there.keys() == {name for name, x in state.items() if x.is_floating_point()}
    for name, numbers in there.items():
        assert np.array_equal(numbers, state[name].numpy()), name
        assert about["tensors"][name]["offset"] % 8 == 0
    assert there["energy_head.reference"].dtype == np.float64
    assert there["embedding.weight"].dtype == np.float32
    assert about["trained_elements"] == [1, 6]
    assert about["config"] == model.config and about["model"] == "EquivariantTransformer"


def test_a_model_in_double_precision_is_written_in_single():
    model = schnet().double()
    about = export_model(model)
    assert about["tensors"]["embedding.weight"]["dtype"] == "float32"
    assert about["tensors"]["energy_head.scale"]["dtype"] == "float64"


def test_files_for_disk_and_for_fetching(tmp_path):
    model = schnet()
    script = write_export(model, tmp_path / "net.js", name="a </script> name").read_text()
    assert "</script" not in script and r'"a <\/script> name"' in script
    head, _, content = script.partition(" = ")
    assert head.startswith("(globalThis.scdlabWeights ??= {})[")
    whole = json.loads(content.rstrip().removesuffix(";"))
    assert whole == json.loads(json.dumps(export_model(model)))
    about = json.loads(write_export(model, tmp_path / "net.json").read_text())
    assert (tmp_path / about["buffer"]).read_bytes() == base64.b64decode(whole["data"])
    assert {**about, "data": whole["data"]} == {**whole, "buffer": "net.bin"}


def test_what_cannot_be_exported(tmp_path):
    with pytest.raises(ValueError, match="No page runs a DimeNet here; export a model"):
        export_model(scdlab.DimeNet(hidden_channels=8, num_layers=1))
    with pytest.raises(ValueError, match="No page runs a SchNet here; export a model of PET"):
        export_model(scdlab.ECSE(schnet()))
    deep = scdlab.PET(hidden_channels=8, num_layers=2, num_heads=2)
    with pytest.raises(ValueError, match="No page runs an ECSE layer by layer"):
        export_model(scdlab.ECSE(deep, layerwise=True))
    model = schnet()
    with pytest.raises(ValueError, match=r"must end in \.js or \.json, got 'net\.txt'"):
        write_export(model, tmp_path / "net.txt")
    with torch.no_grad():
        model.embedding.weight[3, 0] = torch.nan
    with pytest.raises(ValueError, match=r"embedding\.weight are not finite"):
        export_model(model)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def modules(monkeypatch):
    """A function that puts modules by their texts in place of those of `site/web`."""

    def put(**texts: str):
        named = {f"{name}.js": text for name, text in texts.items()}
        monkeypatch.setattr(bundling, "source", named.__getitem__)

    return put


def test_a_bundle_calls_modules_in_order_and_keeps_names_apart(modules):
    modules(
        top='export { a } from "./first.js";\nimport {\n    b,\n    a,\n} from "./second.js";\n'
        "const own = 3;\nexport function c() {\n    return b + a + own;\n}\n",
        first="const own = 1;\nexport const a = own;\n",
        second='export class b {}\nexport { a } from "./first.js";\n',
    )
    script = bundling.bundle("top.js", "kit")
    assert script.startswith("globalThis.kit = ") and "return top_js;" in script
    assert script.index("const first_js") < script.index("const second_js")
    assert script.index("const second_js") < script.index("const top_js")
    assert "const { b, a } = second_js;" in script
    assert script.count("const own = ") == 2
    assert "return { a, c };" in script and "export" not in script and "import" not in script


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('import * as x from "./x.js";\n', "which no classic script can hold"),
        ("export default 3;\n", "which no classic script can hold"),
        ('import { a } from "./odd.js";\n', "in a circle, odd.js → odd.js"),
    ],
)
def test_modules_that_no_script_can_hold(modules, text, said):
    modules(odd=text)
    with pytest.raises(ValueError, match=said):
        bundling.bundle("odd.js")


def test_a_module_that_is_not_there():
    with pytest.raises(ValueError, match=r"no module 'nothing\.js'"):
        bundling.source("nothing.js")


def test_models_that_are_named_have_a_file():
    assert set(export.MODELS) == {"SchNet", "EquivariantTransformer", "PET"}
    assert "CLASSES = { SchNet, EquivariantTransformer, PET }" in bundle()


def test_text_inside_a_script():
    assert inside_script("a </script> <!-- b") == "a <\\/script> <\\!-- b"


def test_the_page_of_benchmarks_shows_how_often_models_answer():
    folder = Path(web.__file__).parent
    report = json.loads((folder / "results" / "web.json").read_text(encoding="utf-8"))
    assert web.table(report) in (folder / "README.md").read_text(encoding="utf-8")
    assert [row["case"] for row in report["results"]] == list(web.cases())
    assert max(row["difference"] for row in report["results"]) < 1e-5
