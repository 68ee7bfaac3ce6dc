// Exported models, ready to answer.

import { Weights, decode } from "./checkpoint.js";
import { ECSE } from "./ecse.js";
import { symbols } from "./elements.js";
import { EquivariantTransformer } from "./et.js";
import { PET } from "./pet.js";
import { SchNet } from "./schnet.js";
import { floatArray } from "./workspace.js";

const CLASSES = { SchNet, EquivariantTransformer, PET };

// A model of what scdlab/site/export.py wrote.
//
// precision: "float32" or "float64", of the network; geometry and energies are double always.
// buffer: the numbers, where they do not stand in the export itself.
// What the export says of the training stands under `about`.
export function loadModel(exported, { precision = "float32", buffer = null } = {}) {
    const Float = floatArray(precision);
    const weights = new Weights(exported.tensors, buffer ?? decode(exported), Float);
    const model =
        exported.model === "ECSE"
            ? wrapped(exported, weights)
            : built(exported.model, exported.config, weights);
    model.about = {
        model: exported.model,
        config: exported.config,
        trainedElements: exported.trained_elements,
        trainedLabels: exported.trained_labels,
        provenance: exported.provenance,
    };
    return model;
}

function built(name, config, weights) {
    const Model = CLASSES[name];
    if (Model === undefined) {
        throw new Error(
            `The page runs ${Object.keys(CLASSES).join(", ")}, and these are weights of ${name}; ` +
                "export one of them.",
        );
    }
    return new Model(config, weights, weights.Float);
}

// An ECSE around its model. Its auxiliary model has references and units of the model until it is
// trained by itself.
function wrapped(exported, weights) {
    const { model: inner, auxiliary: other } = exported.config;
    const model = built(inner.name, inner.config, weights.under("model."));
    if (other === null) {
        return new ECSE(model, exported.config, null);
    }
    const auxiliary = built(other.name, other.config, weights.under("auxiliary."));
    if (!exported.auxiliary_has_units) {
        auxiliary.energyHead.reference = model.energyHead.reference;
        auxiliary.energyHead.scale = model.energyHead.scale;
    }
    return new ECSE(model, exported.config, auxiliary);
}

// Symbols of the elements of a structure that a model has not been trained on; none for a model
// that was not trained.
export function unknownElements(model, z) {
    const known = new Set(model.about.trainedElements);
    if (known.size === 0) {
        return [];
    }
    return [...new Set(z)].filter((number) => !known.has(number)).map((number) => symbols[number]);
}
