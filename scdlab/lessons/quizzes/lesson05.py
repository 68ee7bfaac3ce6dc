"""The quiz of lesson 05: equivariance by averaging (ECSE)."""

from scdlab.lessons.quizzes import Question

QUESTIONS = [
    Question(
        "A network is averaged over 256 fixed rotations. A molecule is rotated by 10°. What does "
        "its energy do?",
        {
            "It changes a little, less than without the average.": (
                "The 256 orientations in which the network sees the molecule all change by 10°, "
                "and a finite mean over them is not the same mean. Only the part that the rule "
                "integrates exactly stays."
            ),
            "It stays the same to rounding.": (
                "That would need all rotations, or a network without any variation above the "
                "degree of the rule. PET has variations of every degree."
            ),
            "It jumps.": (
                "The orientations are fixed in space, so they do not switch; the mean is as smooth "
                "as the network. It is frames chosen from the structure that jump."
            ),
        },
    ),
    Question(
        "Along a path, the largest step of an energy is 4.0 meV. When this step is split into ten, "
        "the largest piece is 3.9 meV. What is there?",
        {
            "A jump of nearly 4 meV.": (
                "A smooth step would have shrunk to about 0.4 meV. What does not shrink, "
                "(10 · 3.9 − 4.0) / 9 = 3.9 meV, is a jump."
            ),
            "A steep slope.": (
                "Of a slope, however steep, each of the ten pieces would be about a tenth, some "
                "0.4 meV, once the pieces are small enough to look straight."
            ),
            "Nothing that a finer path would not show to be smooth.": (
                "The path has just been made finer, and the step stayed as large as it was."
            ),
        },
    ),
    Question(
        "Why does the weight of a frame hold (s − (W − ΔW))/ΔW, although q already vanishes when "
        "two neighbors come in line?",
        {
            "So that some weight is at least 1 whenever any pair is usable.": (
                "For a usable pair s > W, where this factor is above 1. The largest weight then "
                "tells whether frames have failed: the auxiliary model has no part until it falls "
                "below ½."
            ),
            "So that the weight is smooth at s = W − ΔW.": (
                "q is smooth there with all derivatives. The factor alone would pass through zero "
                "with a slope and become negative."
            ),
            "So that frames at a right angle count less.": (
                "They count more: the factor grows with s, to 6.3 at a right angle. This is "
                "harmless, since only ratios of weights matter in the mean."
            ),
            "So that fewer frames are needed.": (
                "It removes no frame. The inner radius R_in does that, by leaving out far pairs."
            ),
        },
    ),
    Question(
        "The auxiliary model of ECSE was trained alone, on the same data as the network, and its "
        "energies are accurate. Yet the energy of a molecule that is bent open has a deep, smooth "
        "error. Why?",
        {
            "The two models divide the total energy differently among the atoms.": (
                "Each atom hands over at an angle of its own. In between the total is a sum of "
                "shares from two models, and shares are not observable, so nothing made them "
                "agree. Training through ECSE does."
            ),
            "w_aux is not smooth.": (
                "The error is smooth, and so is w_aux. Smooth is not the same as right."
            ),
            "The auxiliary model is equivariant, and the network is not.": (
                "Both give energies that are invariant, one by construction, the other through "
                "ECSE. That is not where they differ."
            ),
            "The frames jump where they vanish.": (
                "A jump would be no smooth error. Every frame has weight zero when it vanishes."
            ),
        },
    ),
    Question(
        "The weights of an ECSE were detached by mistake: their gradient is missing in the forces. "
        "Which test finds it?",
        {
            "Forces against finite differences of the energy.": (
                "The energy is right and the forces are not its gradient: only a test that "
                "compares the two sees that."
            ),
            "The energy of rotated copies.": (
                "The energy is computed as before, and is exactly invariant. Nothing is wrong with "
                "it."
            ),
            "The total torque of the forces.": (
                "Weights depend on distances and angles alone, so the missing part exerts no "
                "torque: the torque is zero with it and without it."
            ),
            "Whether the forces of rotated copies are the rotated forces.": (
                "They are: every part of the forces, the missing one as well, rotates with the "
                "molecule."
            ),
        },
    ),
]
