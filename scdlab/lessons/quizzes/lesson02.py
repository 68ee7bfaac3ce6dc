"""The quiz of lesson 02: denoising."""

from scdlab.lessons.quizzes import Question

QUESTIONS = [
    Question(
        "A translation-invariant network is trained without end on noise as it comes, on a "
        "molecule of 20 atoms. Its loss per component stops, at the lowest, at …",
        {
            "0.05, from the mean of the noise, and rotations add nearly as much": (
                "Three hidden translations and three hidden rotations among 60 directions: 1/N and "
                "1/N again, to first order in σ."
            ),
            "0, since it can learn everything": (
                "It cannot see a shift of all atoms, and its answer is the same before and after "
                "one. No training changes that."
            ),
            "0.15, the square of the mean of the noise": (
                "|mean|² is 3/N, but the loss is a mean over three components: 1/N from them."
            ),
            "it depends on σ": (
                "The loss is in units of σ², and the share of hidden directions does not know σ."
            ),
        },
    ),
    Question(
        "Noise of 0.04 Å makes a molecule as hot as some 700 K. What is the difference from a "
        "frame of a simulation at 700 K?",
        {
            "Heat gives each vibration the same energy; noise moves each atom as far": (
                "So noise puts most of its energy into stiff bonds, and hardly any into torsions."
            ),
            "None: equal energy, equal density": (
                "Equal energy in total, shared out differently among stiff and soft directions."
            ),
            "The frame is centered, the noise is not": (
                "Centering removes three directions in which no energy lies anyway."
            ),
            "The simulation conserves energy": (
                "That is a matter of time; here two snapshots are compared."
            ),
        },
    ),
    Question(
        "In one dimension x varies by s = 0.03 Å, and you add noise of σ = 0.04 Å. You see x̃ = "
        "0.1 Å. What is your best guess of the noise?",
        {
            "0.064 Å": "The share σ²/(s² + σ²) = 16/25 of what you see.",
            "0.036 Å": "That is the best guess of x, the rest of x̃.",
            "0.1 Å": "Only if x could not vary at all, as in a data set of minima.",
            "0.04 Å": "That is the usual size of noise, before x̃ was looked at.",
        },
    ),
    Question(
        "A denoiser's head gives a vector for each atom. Its vectors agree with forces to a cosine "
        "of 0.96. Is it a force field?",
        {
            "Not in general: nothing makes its Jacobian symmetric": (
                "A field is a gradient only where the derivatives are symmetric; a small curl "
                "remains, and the work around a closed path does not vanish."
            ),
            "Yes: the cosine is nearly 1": (
                "A small error can have a curl all the same, and dynamics add it up."
            ),
            "Yes: it is equivariant": (
                "Equivariance says how the vectors rotate, not that they come from an energy."
            ),
            "No: forces need labels": (
                "The score of thermal structures is the force over k_B T, without any label."
            ),
        },
    ),
    Question(
        "Frad moves torsions by large angles, then adds Gaussian noise, and asks for the Gaussian "
        "part alone. Why not for all of it?",
        {
            "So that soft directions come out soft": (
                "The torsional noise then plays the part of heat: along a torsion a displacement "
                "was probably not the Gaussian noise, and the answer is small."
            ),
            "Because torsional noise is too large to be learned": (
                "It could be learned; the answer would be that all springs are equally stiff."
            ),
            "Because torsional noise is not centered": (
                "It can be centered. The reason is what the target makes of soft directions."
            ),
            "To save half of the computing time": "Both targets cost one pass of the network.",
        },
    ),
]
