"""The quiz of lesson 00."""

from scdlab.lessons.quizzes import Question

QUESTIONS = [
    Question(
        "A molecule is rotated by 30°. What happens to its energy and its forces?",
        {
            "The energy stays, the forces rotate with the molecule.": (
                "An energy is invariant. A force is a slope of it along a direction in space, and "
                "the directions rotate."
            ),
            "Both stay the same.": (
                "A force that pulled along x must pull along the rotated axis now: the numbers "
                "change, in step with the molecule."
            ),
            "The forces stay, the energy changes.": (
                "Nothing about the molecule has changed, so its energy has not either."
            ),
            "Both change, by an amount that depends on the method of the labels.": (
                "The symmetry is one of nature, and every sound method of quantum chemistry has it."
            ),
        },
    ),
    Question(
        "A fit on the 36 numbered distances of ethanol is invariant to rotation. What is it not "
        "invariant to?",
        {
            "The numbering of the atoms.": (
                "Each weight belongs to a numbered pair. When two hydrogens swap numbers, other "
                "distances meet the same weights."
            ),
            "Moving the molecule by 10 Å.": "Distances do not change when all atoms move together.",
            "Mirroring the molecule.": "A mirror image has the same distances between its atoms.",
            "Rotations by more than 180°.": "A rotation is a rotation: no distance changes.",
        },
    ),
    Question(
        "You train on 1,000 frames drawn at random from one long trajectory and test on the rest. "
        "What does the error measure?",
        {
            "How well the model interpolates between frames that are neighbors in time.": (
                "Nearly every test frame has a training frame just before or after it. That is a "
                "fair question, but an easy one."
            ),
            "How well it will do on the continuation of the simulation.": (
                "Only a cut in time asks this. On few frames the lesson found twice the error."
            ),
            "How well it will do on another molecule.": (
                "No other molecule was in the test; this needs a split by molecule."
            ),
            "Nothing, because test frames must be chosen by hand.": (
                "Choosing by hand is worse than drawing: it lets wishes in."
            ),
        },
    ),
    Question(
        "A model of ethanol at 500 K has an energy error of 40 meV, just below “chemical "
        "accuracy”. Is it a good model?",
        {
            "Not very: always guessing the mean energy errs by about 100 meV.": (
                "It has removed 60 % of an error that needs no model at all. Chemical accuracy is "
                "a measure for energies of reactions against experiment."
            ),
            "Yes: it is chemically accurate.": (
                "The yardstick is made for reaction energies against experiment. Here all energies "
                "lie within a few tenths of an eV anyway."
            ),
            "Yes: 40 meV of 309 eV is an error of 0.01 %.": (
                "The 309 eV count from bare ions and free electrons, and nearly all of them are "
                "the same in every frame. Only differences matter."
            ),
            "No: errors must be below 1 meV, else dynamics are unstable.": (
                "Stability is a matter of forces that belong to one energy, and of where the "
                "simulation goes; there is no such threshold."
            ),
        },
    ),
    Question(
        "Why does one write the energy of a molecule as a sum over its atoms?",
        {
            "A sum does not depend on the order of the atoms, and two molecules far apart get the "
            "sum of their energies.": (
                "Both are exact properties of the true energy, and one model then serves molecules "
                "of any size."
            ),
            "Quantum chemistry computes the energies of atoms, and one may fit them.": (
                "It gives one energy for the whole. How a model divides it among atoms is its own "
                "choice, and not unique."
            ),
            "Atoms far apart do not interact.": (
                "That would justify a cutoff, and it is only approximately true. A sum over atoms "
                "holds with or without a cutoff."
            ),
            "It makes the energy invariant to rotation.": (
                "Only if each term is invariant; the sum itself has nothing to do with rotation."
            ),
        },
    ),
]
