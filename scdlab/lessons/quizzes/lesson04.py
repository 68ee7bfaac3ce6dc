"""The quiz of lesson 04: self-conditioned denoising (SCD)."""

from scdlab.lessons.quizzes import Question

QUESTIONS = [
    Question(
        "A denoiser of ethanol frames at 500 K leaves about two thirds of the noise after 200 "
        "steps, and as much after 12,000. What does that show?",
        {
            "It answers as well as anything can that sees only the noisy molecule.": (
                "Heat displaces soft directions farther than the noise does, and the sum alone "
                "does not say which part is noise. The stiffnesses of ethanol give the same number."
            ),
            "The network is too small.": (
                "A larger one meets the same wall: it follows from k_BT and the stiffness of the "
                "molecule, and no network occurs in it."
            ),
            "Off equilibrium denoising has no best answer.": (
                "It has one, the mean over all noises that could have led here. It is just not a "
                "good answer along soft directions."
            ),
            "The noise is too small to be seen.": (
                "Noise of the same size is seen well enough at minima, where such a network "
                "removes three quarters of it."
            ),
        },
    ),
    Question(
        "At which temperature is the description of the clean structure worth least?",
        {
            "At 0 K, in a minimum.": (
                "There s² = k_BT/k is zero: nothing but the rotations is ambiguous, and a "
                "description that does not rotate cannot tell those."
            ),
            "At 500 K.": "There it is worth something: less noise is left than the wall allows.",
            "At 2,000 K.": (
                "The hotter, the more the heat hides, and the more a description could tell."
            ),
            "The temperature does not matter.": (
                "It decides s² = k_BT/k, and with it how much of the noise cannot be known."
            ),
        },
    ),
    Question(
        "Why can the condition not say which of ethanol's five C–H bonds is the long one?",
        {
            "It is one sum over the atoms.": (
                "A sum holds how long such bonds are on average, or how much they differ, but it "
                "does not name its terms. A condition for every atom would."
            ),
            "It has 64 channels, fewer than the coordinates.": (
                "A shape of ethanol is 21 numbers, so 64 would do. Counting does not decide."
            ),
            "It does not change under rotation.": (
                "Neither does a bond length. What it cannot tell for that reason is the "
                "orientation of the molecule."
            ),
            "The first pass has not seen the noise.": (
                "It has seen the clean structure, with every length in it; that is not what is "
                "missing."
            ),
        },
    ),
    Question(
        "The paper's table has 17.7 meV after Coord and 12.7 after SCD. What differs between the "
        "two?",
        {
            "The objective and the network.": (
                "The row of backbones reads ET, ET, CT: SCD alone runs on the conditional "
                "transformer, with more parameters, other norms and drop-path."
            ),
            "The objective alone.": (
                "The caption says the same backbone, but the row of backbones reads ET, ET, CT."
            ),
            "The number of labels.": "Both are fine-tuned on the same 110,000 labels.",
            "The molecules that were pretrained on.": (
                "Both were pretrained on the same set, 3.4 million minima."
            ),
        },
    ),
    Question(
        "A network bounds each vector (x, y, z) by tanh of x, of y and of z. How do you notice?",
        {
            "Rotate the molecule and compare with the rotated answer.": (
                "tanh of the components does not rotate with the vector: (3, 0) gets length 0.995, "
                "and the same vector at 45° gets 1.374."
            ),
            "Its error on QM9 is larger.": (
                "It need not be: training makes the network almost equivariant on the data it "
                "sees, and a table of errors does not show the rest."
            ),
            "Its forces are not the slope of its energy.": (
                "They can be: tanh has a derivative, and autograd follows it. That law is broken "
                "by a copy of the features that is cut off from the gradient."
            ),
            "Moving the molecule as a whole changes the answer.": (
                "It does not: the network sees differences of positions only."
            ),
        },
    ),
]
