// Everything that a page may use.

export { mixed, noiseLeft, selfEmbedding } from "./conditions.js";
export { atomicNumber, masses, symbols } from "./elements.js";
export { EquivariantTransformer } from "./et.js";
export { Pairs } from "./neighbors.js";
export { SchNet } from "./schnet.js";
export { loadModel, unknownElements } from "./models.js";
