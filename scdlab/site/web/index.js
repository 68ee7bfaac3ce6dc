// Everything that a page may use.

export { mixed, noiseLeft, selfEmbedding } from "./conditions.js";
export { atomicNumber, masses, symbols } from "./elements.js";
export { Dynamics, KB, Langevin, VelocityVerlet } from "./dynamics.js";
export { ECSE } from "./ecse.js";
export { EquivariantTransformer } from "./et.js";
export { Pairs } from "./neighbors.js";
export { between, energiesAlong, rotated } from "./paths.js";
export { PET } from "./pet.js";
export { Random } from "./random.js";
export { SchNet } from "./schnet.js";
export { loadModel, unknownElements } from "./models.js";
export { parseXyz, writeXyz } from "./xyz.js";
