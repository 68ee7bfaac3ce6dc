// What a conditional model is given. As in scdlab/analysis/conditions.py.
//
//     own          the model's embedding of the clean molecule      selfEmbedding
//     none         the mask token                                   null
//     another's    the embedding of another molecule                selfEmbedding
//     mix          (1 − mix) · own + mix · another's                mixed

// The model's own embedding [d] of a molecule as it stands.
export function selfEmbedding(model, structure) {
    return model.forward(structure).embedding;
}

// (1 − mix) · own + mix · other: exactly `own` at 0 and `other` at 1.
export function mixed(own, other, mix) {
    if (!(mix >= 0 && mix <= 1)) {
        throw new Error(
            "mix, the other molecule's share in the condition, must be between 0 and 1, got " +
                `${mix}.`,
        );
    }
    return Float64Array.from(own, (x, k) => (1 - mix) * x + mix * other[k]);
}

// The share |ε̂ − ε|² / |ε|² of the noise that is left, both [3N] in Å: 0 is perfect, 1 is what the
// blind guess 0 gets, NaN without noise.
export function noiseLeft(answer, noise) {
    let left = 0;
    let blind = 0;
    for (let k = 0; k < noise.length; k++) {
        left += (answer[k] - noise[k]) ** 2;
        blind += noise[k] ** 2;
    }
    return blind > 0 ? left / blind : NaN;
}

// A condition of the right size, of the structure [d] or of its n atoms [n, d].
export function checkedCondition(condition, n, d) {
    if (condition.length !== d && condition.length !== n * d) {
        throw new Error(
            `The condition must hold ${d} numbers, the model's width, or ${n * d}, so many for ` +
                `each atom, got ${condition.length}.`,
        );
    }
    return condition;
}

// Means over the atoms of gates [layers][N, d]: [layers · d].
export function meanGates(gates, n, d) {
    const out = new Float64Array(gates.length * d);
    gates.forEach((gate, layer) => {
        for (let i = 0; i < n; i++) {
            for (let k = 0; k < d; k++) {
                out[layer * d + k] += gate[i * d + k] / n;
            }
        }
    });
    return out;
}
