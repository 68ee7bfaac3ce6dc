// Arrays that a model uses again in every pass, so that no pass allocates.

export class Workspace {
    // Float: Float32Array or Float64Array, the precision of the model that owns the arrays.
    constructor(Float) {
        this.Float = Float;
        this.arrays = new Map();
    }

    // An array of at least `size` numbers; the same one under the same name, with what it held.
    array(name, size) {
        return this.kept(name, size, this.Float);
    }

    // The same in double precision, for geometry and energies.
    doubles(name, size) {
        return this.kept(name, size, Float64Array);
    }

    // The same for indices.
    integers(name, size) {
        return this.kept(name, size, Int32Array);
    }

    kept(name, size, Kind) {
        let array = this.arrays.get(name);
        if (array === undefined || array.length < size || array.constructor !== Kind) {
            array = new Kind(Math.ceil(1.25 * size)); // a little more, for structures that grow
            this.arrays.set(name, array);
        }
        return array;
    }
}

// The typed array of a precision, "float32" or "float64".
export function floatArray(precision) {
    if (precision === "float32") {
        return Float32Array;
    }
    if (precision === "float64") {
        return Float64Array;
    }
    throw new Error(`The precision must be "float32" or "float64", got ${precision}.`);
}
