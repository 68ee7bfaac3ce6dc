// Adaptive layer norm: a network that depends on a vector. As in scdlab/nn/blocks/adaln.py.
//
//     β, γ, α = Linear(LN(SiLU(Linear([LN(c), LN(x)]))))     shift, scale and gate, d numbers each
//     x ← x + (1 + tanh α) ∘ block((1 + γ) ∘ LN(x) + β)

import { LayerNorm, Linear, silu } from "./linear.js";
import { Workspace } from "./workspace.js";

// Scale, shift and gate of one layer, from conditions and the layer's own features.
export class AdaLN {
    constructor(weights, d, dCondition, Float) {
        this.d = d;
        this.dCondition = dCondition;
        this.linC = new Linear(weights, "lin_c", dCondition, d);
        this.linX = new Linear(weights, "lin_x", d, d);
        this.norm = new LayerNorm(weights, "norm", d);
        this.lin2 = new Linear(weights, "lin2", d, 3 * d);
        this.work = new Workspace(Float);
    }

    // Normalized conditions c, of the structure [dCondition] or of its atoms [N, dCondition], and
    // normalized features x [N, d] -> scale 1 + γ, shift β and gate 1 + tanh α, [N, d] each.
    forward(c, x, scale, shift, gate, n) {
        const { d, work } = this;
        const rows = c.length === this.dCondition ? 1 : n;
        const ofC = work.array("c", rows * d);
        const h = work.array("h", n * d);
        const three = work.array("three", 3 * n * d);
        this.linC.forward(c, ofC, rows);
        this.linX.forward(x, h, n);
        for (let i = 0; i < n; i++) {
            const row = rows === 1 ? 0 : i * d;
            for (let k = 0; k < d; k++) {
                h[i * d + k] += ofC[row + k];
            }
        }
        silu(h, h, n * d);
        this.norm.forward(h, h, n);
        this.lin2.forward(h, three, n);
        for (let i = 0; i < n; i++) {
            for (let k = 0; k < d; k++) {
                scale[i * d + k] = 1 + three[3 * i * d + k];
                shift[i * d + k] = three[(3 * i + 1) * d + k];
                gate[i * d + k] = 1 + Math.tanh(three[(3 * i + 2) * d + k]);
            }
        }
    }
}
