// Exported models, ready to answer.

import { Weights, decode } from "./checkpoint.js";
import { symbols } from "./elements.js";
import { EquivariantTransformer } from "./et.js";
import { SchNet } from "./schnet.js";
import { floatArray } from "./workspace.js";

const CLASSES = { SchNet, EquivariantTransformer };

// A model of what scdlab/site/export.py wrote.
//
// precision: "float32" or "float64", of the network; geometry and energies are double always.
// buffer: the numbers, where they do not stand in the export itself.
// What the export says of the training stands under `about`.
export function loadModel(exported, { precision = "float32", buffer = null } = {}) {
    const Model = CLASSES[exported.model];
    if (Model === undefined) {
        throw new Error(
            `The page runs ${Object.keys(CLASSES).join(", ")}, and these are weights of ` +
                `${exported.model}; export one of them.`,
        );
    }
    const Float = floatArray(precision);
    const weights = new Weights(exported.tensors, buffer ?? decode(exported), Float);
    const model = new Model(exported.config, weights, Float);
    model.about = {
        model: exported.model,
        config: exported.config,
        trainedElements: exported.trained_elements,
        trainedLabels: exported.trained_labels,
        provenance: exported.provenance,
    };
    return model;
}

// Symbols of the elements of a structure that a model has not been trained on; none for a model that
// was not trained.
export function unknownElements(model, z) {
    const known = new Set(model.about.trainedElements);
    if (known.size === 0) {
        return [];
    }
    return [...new Set(z)].filter((number) => !known.has(number)).map((number) => symbols[number]);
}
