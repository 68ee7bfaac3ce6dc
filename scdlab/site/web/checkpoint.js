// Weights of a model as scdlab/site/export.py writes them: a description, and the numbers of all
// tensors in base64, float32 but for energies of elements and scales, which are float64.

// The bytes of an exported model's numbers.
export function decode(exported) {
    const text = atob(exported.data);
    const bytes = new Uint8Array(text.length);
    for (let k = 0; k < text.length; k++) {
        bytes[k] = text.charCodeAt(k);
    }
    return bytes.buffer;
}

// Tensors by their names in the checkpoint, in the precision of a model.
export class Weights {
    constructor(tensors, buffer, Float, prefix = "") {
        this.tensors = tensors;
        this.buffer = buffer;
        this.Float = Float;
        this.prefix = prefix;
    }

    // Those whose names begin with a prefix, by what follows it.
    under(prefix) {
        return new Weights(this.tensors, this.buffer, this.Float, this.prefix + prefix);
    }

    has(name) {
        return this.prefix + name in this.tensors;
    }

    // A tensor of the expected shape, row by row.
    get(name, shape) {
        return new this.Float(this.stored(name, shape));
    }

    // The same in double precision.
    doubles(name, shape) {
        return new Float64Array(this.stored(name, shape));
    }

    stored(name, shape) {
        const about = this.tensors[this.prefix + name];
        if (about === undefined) {
            throw new Error(`The weights hold no ${this.prefix + name}; export the model anew.`);
        }
        if (about.shape.join() !== shape.join()) {
            throw new Error(
                `${this.prefix + name} should have shape [${shape}], and has [${about.shape}]; ` +
                    "export the model anew.",
            );
        }
        const Kind = about.dtype === "float64" ? Float64Array : Float32Array;
        const size = shape.reduce((a, b) => a * b, 1);
        return new Kind(this.buffer, about.offset, size);
    }
}
