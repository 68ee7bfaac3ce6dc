"""Molecular dynamics, random numbers and xyz text in JavaScript."""

import io

import ase.io
import numpy as np
import pytest
from ase import units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.md.verlet import VelocityVerlet
from helpers import perturbed, rattled, schnet
from web_models import WebModels, difference, plain

SPRING = 3.0  # eV/Å²
SPRINGS = """const springs = (rest, k) => structure => {
    let energy = 0;
    const forces = structure.pos.map((x, n) => {
        energy += k / 2 * (x - rest[n]) ** 2;
        return -k * (x - rest[n]); });
    return {energy, forces}; };"""


class Springs(Calculator):
    """Each atom on a spring of its own."""

    implemented_properties = ("energy", "forces")

    def __init__(self, rest):
        super().__init__()
        self.rest = rest

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        apart = self.atoms.positions - self.rest
        self.results = {"energy": SPRING / 2 * (apart**2).sum(), "forces": -SPRING * apart}


@pytest.fixture(scope="module")
def web(window, tmp_path_factory):
    folder = tmp_path_factory.mktemp("web")
    return WebModels(window, folder, "float64", net=perturbed(schnet(num_rbf=30), 1))


@pytest.mark.browser
def test_velocity_verlet_is_that_of_ase(web):
    atoms = rattled("CH3CH2OH", amount=0.1)
    rest = molecule("CH3CH2OH").positions
    velocities = np.random.default_rng(0).normal(size=rest.shape) * 0.01  # Å/fs
    atoms.calc = Springs(rest)
    atoms.set_velocities(velocities / units.fs)
    there = VelocityVerlet(atoms, 0.7 * units.fs)
    there.run(50)
    here = web.run(
        f"""([structure, rest, velocities]) => {{ {SPRINGS}
            const calculate = springs(rest, {SPRING});
            const md = new scdlab.VelocityVerlet(structureOf(structure), calculate, 0.7);
            md.velocities.set(velocities);
            for (let k = 0; k < 50; k++) md.step();
            return [Array.from(md.structure.pos), Array.from(md.velocities), md.energy,
                    md.kineticEnergy, md.temperature, md.time]; }}""",
        plain(rattled("CH3CH2OH", amount=0.1)),
        rest.ravel().tolist(),
        velocities.ravel().tolist(),
    )
    pos, moved, energy, kinetic, temperature, time = here
    assert difference(np.reshape(pos, (-1, 3)), atoms.positions) < 1e-5
    assert difference(np.reshape(moved, (-1, 3)), atoms.get_velocities() * units.fs) < 1e-4
    assert energy == pytest.approx(atoms.get_potential_energy(), rel=1e-4)
    assert kinetic == pytest.approx(atoms.get_kinetic_energy(), rel=1e-4)
    assert temperature == pytest.approx(atoms.get_temperature(), rel=1e-4)
    assert time == pytest.approx(35)


@pytest.mark.browser
@pytest.mark.parametrize("cells", [None, 512])
def test_gradient_forces_conserve_energy(web, cells):
    """The energy stays, up to what vanishes with the square of the time step."""
    wander = web.run(
        """([structure, cells]) => {
            const net = models.net;
            net.filterTableSize = cells;
            return [0.4, 0.2].map(timestep => {
                const calculate = s => net.forward(s, {forces: true});
                const md = new scdlab.VelocityVerlet(structureOf(structure), calculate, timestep);
                md.thermalize(300, new scdlab.Random(1));
                const start = md.totalEnergy;
                let largest = 0;
                while (md.time < 40) {
                    md.step();
                    largest = Math.max(largest, Math.abs(md.totalEnergy - start)); }
                return largest; }); }""",
        plain(rattled("CH3CH2OH")),
        cells,
    )
    assert 0 < wander[0] < 0.05 and 3 < wander[0] / wander[1] < 5


@pytest.mark.browser
def test_a_heat_bath_has_its_temperature(web):
    """Kinetic energy and that of springs: half of k_B T for each direction, on average."""
    here = web.run(
        f"""([structure]) => {{ {SPRINGS}
            const s = structureOf(structure);
            const settings = {{timestep: 1, temperature: 400, friction: 0.05,
                               random: new scdlab.Random(3)}};
            const md = new scdlab.Langevin(s, springs(s.pos.slice(), {SPRING}), settings);
            let kinetic = 0;
            let potential = 0;
            for (let k = 0; k < 60000; k++) {{
                md.step();
                if (k < 10000) continue;
                kinetic += md.temperature / 5e4;
                potential += md.energy / 5e4; }}
            return [kinetic, potential / s.pos.length * 2 / scdlab.KB]; }}""",
        plain(molecule("CH3CH2OH")),
    )
    assert here == pytest.approx([400, 400], rel=0.03)


@pytest.mark.browser
def test_no_friction_is_velocity_verlet_and_seeds_repeat(web):
    runs = web.run(
        """([structure]) => {
            const calculate = s => models.net.forward(s, {forces: true});
            const s = structureOf(structure);
            const bath = (friction, seed) => new scdlab.Langevin(s, calculate,
                {temperature: 300, friction, random: new scdlab.Random(seed)});
            const all = [new scdlab.VelocityVerlet(s, calculate, 0.5), bath(0, 1), bath(0.1, 1),
                         bath(0.1, 1), bath(0.1, 2)];
            return all.map(md => {
                for (let k = 0; k < 10; k++) md.step();
                return Array.from(md.structure.pos); }); }""",
        plain(rattled("CH3CH2OH")),
    )
    assert runs[0] == pytest.approx(runs[1], abs=1e-12)
    assert runs[2] == runs[3] != runs[4]


@pytest.mark.browser
def test_random_numbers(web):
    numbers = np.array(web.run("() => Array.from(new scdlab.Random(5).normals(20000))"))
    assert abs(numbers.mean()) < 0.03 and numbers.std() == pytest.approx(1, abs=0.03)
    assert (numbers**4).mean() == pytest.approx(3, abs=0.25)
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.03
    momentum = web.run(
        """([structure]) => {
            const calculate = s => models.net.forward(s, {forces: true});
            const md = new scdlab.VelocityVerlet(structureOf(structure), calculate);
            md.thermalize(300, new scdlab.Random(1));
            return [0, 1, 2].map(k => md.masses.reduce(
                (sum, m, i) => sum + m * md.velocities[3 * i + k], 0)); }""",
        plain(molecule("CH3CH2OH")),
    )
    assert np.abs(momentum).max() < 1e-12


READ = """([text, options]) => {
    const {z, pos, cell, comment} = scdlab.parseXyz(text, options);
    return [Array.from(z), Array.from(pos), cell && Array.from(cell), comment]; }"""


@pytest.mark.browser
@pytest.mark.parametrize("kind", ["xyz", "extxyz"])
def test_xyz_of_ase_and_back(web, kind):
    for atoms in (rattled("CH3CH2OH"), rattled(bulk("NaCl", "rocksalt", a=5.6))):
        text = io.StringIO()
        ase.io.write(text, atoms, format=kind)
        z, pos, cell, _ = web.run(READ, text.getvalue())
        assert z == atoms.numbers.tolist()
        assert np.abs(np.reshape(pos, (-1, 3)) - atoms.positions).max() < 1e-7
        periodic = kind == "extxyz" and atoms.pbc.any()
        assert (cell is not None) == periodic
        written = web.run(
            "([structure]) => scdlab.writeXyz(structureOf(structure), 'my\\nown')", plain(atoms)
        )
        again = web.run(READ, written)
        assert again[:3] == plain(atoms) and again[3].endswith("my own")
        in_ase = ase.io.read(io.StringIO(written), format="extxyz")
        assert np.array_equal(in_ase.positions, atoms.positions)
        assert np.array_equal(in_ase.pbc, atoms.pbc)


@pytest.mark.browser
@pytest.mark.parametrize(
    "text",
    [
        "3\nwater\nO 0 0 .1\nH 0 0.7 -.4\nH 0 -7e-1 -0.4\n",
        "\ufeff\r\n3\r\n\r\no,0,0,0.1\r\nh1, 0, 0.7, -0.4\r\n1 0 -0.7 -0.4 9 9 9\r\nand more",
        "O 0 0 0.1\nH\t0 +0.7 -0.4 \n H2 0 -0.7 -0.4\n\nnotes",
    ],
)
def test_forms_of_xyz_that_people_paste(web, text):
    z, pos, cell, _ = web.run(READ, text)
    assert z == [8, 1, 1] and cell is None
    assert pos == [0, 0, 0.1, 0, 0.7, -0.4, 0, -0.7, -0.4]


@pytest.mark.browser
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "The text is empty"),
        ("  \n \n", "The text is empty"),
        ("0\n\n", "there are no atoms"),
        ("hello, this is no molecule", 'names the element "hello"'),
        ("CCO", 'Line 1, "CCO", holds no atom with three coordinates'),
        ("1\n\nXx 0 0 0", 'Line 3 names the element "Xx"'),
        ("1\n\n119 0 0 0", 'names the element "119"'),
        ("1\n\nX 0 0 0", 'names the element "X"'),
        ("2\n\nH 0 0 0", "says 2 atoms, and 1 lines of atoms follow"),
        ("1\n\nH 0 zero 0", 'has "zero" for a coordinate'),
        ("1\n\nH 0 Infinity 0", 'has "Infinity" for a coordinate'),
        ("1\n\nH 0 1e999 0", 'has "1e999" for a coordinate'),
        ("1\n\nH 0 0", "holds no atom with three coordinates"),
        ("2\n\nH 1 1 1\nO 1 1 1", "Atoms 1 and 2 are in the same place"),
        ("300\n\n" + "H 0 0 0\n" * 300, "has 300 atoms, and the page takes 200 at most"),
        ("H 0 0 0\n" * 300, "has 300 atoms, and the page takes 200 at most"),
        ('1\nLattice="1 2 3"\nH 0 0 0', "should hold nine numbers"),
        ("99999999999999999999\n\nH 0 0 0", "at most"),
    ],
)
def test_what_is_no_xyz_is_one_sentence(web, text, said):
    message = web.run(
        "([text]) => { try { scdlab.parseXyz(text); } catch (error) { return error.message; } }",
        text,
    )
    assert said in message
    assert message.endswith(".") and "\n" not in message and len(message) < 250


@pytest.mark.browser
def test_bad_settings_of_dynamics(web):
    for script, said in (
        ("new scdlab.VelocityVerlet(water, calculate, -1)", "time step must be a positive time"),
        (
            "new scdlab.Langevin(water, calculate, {temperature: -1})",
            "temperature in K and a friction",
        ),
        (
            "new scdlab.VelocityVerlet(water, s => ({energy: NaN, forces: s.pos}))",
            "no finite numbers after 0 fs",
        ),
    ):
        with pytest.raises(Exception, match=said):
            web.run(
                f"""([structure]) => {{
                    const water = structureOf(structure);
                    const calculate = s => models.net.forward(s, {{forces: true}});
                    {script}; }}""",
                plain(molecule("H2O")),
            )


@pytest.mark.browser
def test_elements_that_a_model_has_not_seen(web):
    unknown = web.run(
        """() => { const seen = {about: {trainedElements: [1, 6, 8]}};
            return [scdlab.unknownElements(seen, [6, 9, 1, 9, 35]),
                    scdlab.unknownElements(models.net, [9])]; }"""
    )
    assert unknown == [["F", "Br"], []]
