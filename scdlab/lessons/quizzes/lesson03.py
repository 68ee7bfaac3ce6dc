"""The quiz of lesson 03: denoising off equilibrium, with forces as a clue."""

from scdlab.lessons.quizzes import Question

QUESTIONS = [
    Question(
        "However long it is trained on frames at 500 K, a network without a clue leaves more than "
        "half of the squared noise. Why?",
        {
            "Heat displaces the atoms as well, and the sum of both displacements does not show "
            "which part is noise.": "What is left is the variance of the posterior, s²/(s² + σ²) "
            "along each direction: small where a bond is stiff, nearly all where a group can turn.",
            "Its best answer is zero, because the noise is random.": "The best answer is the "
            "posterior mean, which points against the force. Answering zero would leave 100 %.",
            "The network is too small.": "No network does better than the posterior mean, however "
            "large it is; the share follows from the thermal spread and σ alone.",
            "Frames of one trajectory resemble one another too much.": "That makes testing too "
            "easy, not denoising impossible.",
        },
    ),
    Question(
        "An atom's force is known to within 0.1 eV/Å. Its bond has a stiffness of 50 eV/Å², a turn "
        "about the axis beside it one of 0.25 eV/Å². How far does the force fix it?",
        {
            "To 0.002 Å along the bond and to 0.4 Å in the turn.": "δx = δF/k, direction by "
            "direction: two hundred times stiffer is two hundred times narrower.",
            "To the same distance in all directions: a force has three components.": "Three "
            "numbers for three unknowns pick a point, if they are exact. A tolerance in the force "
            "becomes a tolerance in place that depends on the stiffness.",
            "To 5 Å along the bond and 0.025 Å in the turn.": "That is δF times k; the stiffer the "
            "direction, the better a force fixes it.",
        },
    ),
    Question(
        "Why is the force encoded as |F|/√3 · Y(F/|F|), with the length in front?",
        {
            "So that an atom whose force is zero, or is not given, contributes nothing, and degree "
            "1 is the force itself.": "The harmonics of a direction have a fixed length; without "
            "the factor a force of 0.001 eV/Å would look like one of 10, and zero would have no "
            "direction at all.",
            "To make the features invariant under rotation.": "The length is invariant with or "
            "without the factor; the features of degree 1 and above must rotate.",
            "To turn eV/Å into a number without a unit.": "The library divides by the size of "
            "forces for that; √3 only undoes the normalization of the harmonics.",
        },
    ),
    Question(
        "In an ablation called “without the force encoding”, code drops the clue and, by a second "
        "line, also sets to zero all vector outputs of corrupted structures. It is worse than the "
        "full method. What follows?",
        {
            "Nothing about the clue: denoising was dropped with it, and so were force labels.": "A "
            "zero output does not depend on any weight, so the noise term has no gradient. Two "
            "things were taken out, and the number cannot say which of them mattered.",
            "The clue is what makes the method work.": "It may be; but this arm does not denoise "
            "either, and it learns from fewer force labels.",
            "The code of the full method is wrong too.": "The lines run in the ablation only. The "
            "full method is not touched by them.",
        },
    ),
    Question(
        "A carbon atom sits exactly between two oxygens. In one step of message passing, which "
        "features of its neighbors can say in which direction it is stiff?",
        {
            "Those of degree 2: degree 1 of the two cancels.": "The two directions are u and −u. "
            "Odd degrees cancel, even ones add up, and a stiffness is a symmetric matrix: degrees "
            "0 and 2.",
            "Those of degree 1: each neighbor sends its direction.": "They send u and −u, whose "
            "sum is zero. (In a second step they could send back the force along u, and that "
            "works.)",
            "Those of degree 0: the distances.": "Distances do not rotate, so they cannot point "
            "anywhere.",
        },
    ),
]
