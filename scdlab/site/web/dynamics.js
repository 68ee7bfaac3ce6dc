// Molecular dynamics: Newton's equations step by step, with or without a heat bath.
//
// Velocity Verlet, at constant energy:
//
//     v ← v + ½ Δt F/m,   r ← r + Δt v,   F ← F(r),   v ← v + ½ Δt F/m
//
// Langevin, at constant temperature, in the order BAOAB (Leimkuhler and Matthews, Appl. Math. Res.
// Express 2013, 34): half a kick, half a drift, friction and random kicks exactly, and back:
//
//     v ← v + ½ Δt F/m,   r ← r + ½ Δt v,
//     v ← e^(-γΔt) v + sqrt((1 - e^(-2γΔt)) k_B T/m) N(0, 1),
//     r ← r + ½ Δt v,   F ← F(r),   v ← v + ½ Δt F/m
//
// Units: Å, fs, eV, eV/Å, K and atomic mass units.

import { masses } from "./elements.js";

export const KB = 8.617333262e-5; // eV/K
const ACCELERATION = 9.648533212e-3; // of 1 eV/Å on one mass unit, in Å/fs²

// A structure that moves.
//
// calculate: what gives {energy, forces} of a structure, such as
// structure => model.forward(structure, {forces: true}).
export class Dynamics {
    constructor(structure, calculate, timestep = 0.5) {
        if (!(timestep > 0)) {
            throw new Error(`The time step must be a positive time in fs, got ${timestep}.`);
        }
        const n = structure.z.length;
        this.structure = { ...structure, pos: Float64Array.from(structure.pos) };
        this.calculate = calculate;
        this.timestep = timestep;
        this.time = 0; // fs
        this.velocities = new Float64Array(3 * n); // Å/fs
        this.masses = Float64Array.from(structure.z, (z) => masses[z]);
        this.forces = new Float64Array(3 * n);
        this.energy = 0;
        this.update();
    }

    // Energy and forces at the present positions; to be called too after positions are set by hand.
    update() {
        const { energy, forces } = this.calculate(this.structure);
        this.energy = energy;
        let sum = energy;
        for (let k = 0; k < this.forces.length; k++) {
            this.forces[k] = forces[k];
            sum += forces[k];
        }
        if (!Number.isFinite(sum)) {
            throw new Error(
                `Energy or forces are no finite numbers after ${this.time} fs; start again with ` +
                    "a shorter time step.",
            );
        }
    }

    // Draw velocities at a temperature in K, without motion of the whole, from a `Random`.
    thermalize(temperature, random) {
        const n = this.masses.length;
        for (let i = 0; i < n; i++) {
            const spread = this.thermalSpeed(i, temperature);
            for (let k = 0; k < 3; k++) {
                this.velocities[3 * i + k] = spread * random.normal();
            }
        }
        this.stopDrift();
    }

    // Standard deviation in Å/fs of a velocity's component.
    thermalSpeed(atom, temperature) {
        return Math.sqrt((KB * temperature * ACCELERATION) / this.masses[atom]);
    }

    // Take the motion of the center of mass out of the velocities.
    stopDrift() {
        const total = this.masses.reduce((a, b) => a + b, 0);
        for (let k = 0; k < 3; k++) {
            let momentum = 0;
            this.masses.forEach((m, i) => {
                momentum += m * this.velocities[3 * i + k];
            });
            this.masses.forEach((_, i) => {
                this.velocities[3 * i + k] -= momentum / total;
            });
        }
    }

    get kineticEnergy() {
        let sum = 0;
        for (let k = 0; k < this.velocities.length; k++) {
            sum += this.masses[Math.floor(k / 3)] * this.velocities[k] ** 2;
        }
        return sum / 2 / ACCELERATION; // eV
    }

    // The temperature in K that the kinetic energy stands for.
    get temperature() {
        return (2 * this.kineticEnergy) / (this.velocities.length * KB);
    }

    // Energy of positions and velocities in eV, which velocity Verlet conserves.
    get totalEnergy() {
        return this.energy + this.kineticEnergy;
    }

    kick(time) {
        for (let k = 0; k < this.velocities.length; k++) {
            const mass = this.masses[Math.floor(k / 3)];
            this.velocities[k] += (time * this.forces[k] * ACCELERATION) / mass;
        }
    }

    drift(time) {
        for (let k = 0; k < this.velocities.length; k++) {
            this.structure.pos[k] += time * this.velocities[k];
        }
    }
}

export class VelocityVerlet extends Dynamics {
    step() {
        this.kick(this.timestep / 2);
        this.drift(this.timestep);
        this.time += this.timestep;
        this.update();
        this.kick(this.timestep / 2);
    }
}

export class Langevin extends Dynamics {
    // temperature: in K.
    // friction: γ in 1/fs.
    // random: a `Random`, the source of the kicks.
    constructor(structure, calculate, { timestep = 0.5, temperature, friction = 0.01, random }) {
        super(structure, calculate, timestep);
        if (!(temperature >= 0 && friction >= 0)) {
            throw new Error(
                "Langevin dynamics needs a temperature in K and a friction in 1/fs that are not " +
                    `negative, got ${temperature} and ${friction}.`,
            );
        }
        this.bathTemperature = temperature;
        this.friction = friction;
        this.random = random;
    }

    step() {
        const kept = Math.exp(-this.friction * this.timestep);
        const renewed = Math.sqrt(1 - kept * kept);
        this.kick(this.timestep / 2);
        this.drift(this.timestep / 2);
        for (let k = 0; k < this.velocities.length; k++) {
            const spread = renewed * this.thermalSpeed(Math.floor(k / 3), this.bathTemperature);
            this.velocities[k] = kept * this.velocities[k] + spread * this.random.normal();
        }
        this.drift(this.timestep / 2);
        this.time += this.timestep;
        this.update();
        this.kick(this.timestep / 2);
    }
}
