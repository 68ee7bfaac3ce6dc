"""The quiz of lesson 02b: what pretraining is worth."""

from scdlab.lessons.quizzes import Question

QUESTIONS = [
    Question(
        "A pretrained network has an error of 365 meV on 500 test molecules, a random start one of "
        "455 meV. What else do you need before you say that pretraining helps?",
        {
            "The paired standard error, more seeds, and the same for longer training": (
                "Which molecules were tested and which training it was are two kinds of chance, "
                "and a head start may be gone when both are trained to the end."
            ),
            "Nothing: 90 meV is a lot": (
                "A number is large or small only beside its spread, over molecules and over seeds."
            ),
            "A larger network": "That is another question; this one is about chance.",
            "The error on the training molecules": (
                "It says how well labels were memorized, not which start is better."
            ),
        },
    ),
    Question(
        "Two models are tested on the same molecules. Why is the standard error of the difference "
        "taken from the differences, molecule by molecule?",
        {
            "What makes a molecule hard for both drops out": (
                "The errors are correlated, so the difference is known better than either error."
            ),
            "Because there are more molecules that way": (
                "Their number is the same; their common part is gone."
            ),
            "Because errors are not normal": (
                "They are not, but that is no reason for pairing: the mean of many is nearly so."
            ),
            "It also covers the spread over seeds": (
                "It does not: each seed gives another training, which no test molecule reveals."
            ),
        },
    ),
    Question(
        "A network was pretrained, without labels, on all geometries of a data set, those of the "
        "test molecules included. The paper must …",
        {
            "call it transductive, and better measure what it changes": (
                "No label has leaked, but the test is not unseen; how much it matters depends on "
                "what the network remembers."
            ),
            "say nothing, since no labels were used": (
                "The geometries were; a network that knows them by heart does better on them."
            ),
            "discard the result": (
                "Where only these molecules are asked for it is legitimate, if it is said."
            ),
            "use more noise": "Noise changes the task, and not who has seen which molecule.",
        },
    ),
    Question(
        "From the mean of a network's atom features the number of atoms is read off with R² = 0.9. "
        "What does that show?",
        {
            "Little, until composition alone has been tried": (
                "The shares of the elements alone have about 0.84 on QM9: size goes along with the "
                "share of hydrogen."
            ),
            "That the embedding is extensive": (
                "Extensive means twice as much for two copies; a mean does not change for copies."
            ),
            "That pretraining taught it the size": ("An untrained network does as well."),
            "That it will predict energies well": "No energy was read off.",
        },
    ),
    Question(
        "The ten nearest neighbors say more about the HOMO energy after pretraining, a linear fit "
        "no more than before. How can both be true?",
        {
            "It was in the features already, and has become large in them": (
                "Neighbors count what is large in the features; a linear fit finds what is small "
                "as well."
            ),
            "One of the two was measured wrongly": "They ask different questions.",
            "The linear fit has too few molecules": (
                "Its ridge is chosen for that, and both networks have as many."
            ),
            "The HOMO energy is not a function of the geometry": (
                "It is; that is what both probes make use of."
            ),
        },
    ),
]
