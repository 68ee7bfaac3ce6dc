"""The quiz of lesson 01."""

from scdlab.lessons.quizzes import Question

QUESTIONS = [
    Question(
        "Why does SchNet generate its filters by a network, where an image convolution stores "
        "them?",
        {
            "Distances between atoms take any value, so there is no list of offsets to store "
            "weights for.": (
                "A grid has a handful of offsets. Atoms have as many distances as there are pairs, "
                "and other ones in the next frame."
            ),
            "Generated filters have fewer weights.": (
                "They may have more. The point is that a weight exists at every distance."
            ),
            "A network makes filters invariant to rotation.": (
                "They are invariant because they read nothing but the distance; a stored table of "
                "distances would be, too."
            ),
            "Stored filters could not be differentiated.": (
                "Interpolated tables can be: the appendix of this lesson does just that."
            ),
        },
    ),
    Question(
        "What does a second block give an atom of ethanol, if the cutoff is 5 Å?",
        {
            "The distances among its neighbors, and with them angles.": (
                "All atoms are neighbors at 5 Å already. In the first block neighbors tell their "
                "element, in the second what they have learned of their own distances."
            ),
            "A larger reach: neighbors of neighbors.": (
                "There is nothing further to reach: all 36 pairs are within 5 Å."
            ),
            "Nothing: one block reads all distances.": (
                "One block gives each atom its own distances only, and cannot distinguish a bent "
                "from a straight H–O–H at the oxygen."
            ),
            "Directions, so that filters are no longer rings.": (
                "Filters read distances in every block."
            ),
        },
    ),
    Question(
        "The loss holds forces, F = −∂E/∂r. What follows for the code?",
        {
            "The forces must be computed so that they can be differentiated again.": (
                "The optimizer needs the derivative of the forces by the weights: a second "
                "derivative of the energy, hence create_graph=True and smooth activations."
            ),
            "The network needs one output for each force component.": (
                "That would be direct forces. The gradient of one energy gives all of them."
            ),
            "Energies must not be in the loss.": (
                "They are, with a small weight: forces leave the constant of the energy open."
            ),
            "Positions must be parameters of the optimizer.": (
                "Positions are differentiated by, but they are data and stay as they are."
            ),
        },
    ),
    Question(
        "A model with direct forces has the same force error as one with gradients. What do you "
        "know about its dynamics?",
        {
            "Nothing yet: measure the work around a closed loop, or the trend of the kinetic "
            "energy.": (
                "An error averages over frames. Whether small errors add up to a steady gain of "
                "energy is another question."
            ),
            "They are as stable as the other's, since the errors are equal.": (
                "Equal errors may be of different kinds: those of a gradient cancel around a loop."
            ),
            "They explode at once.": (
                "Often they do not. The energy drifts, quickly or slowly; a thermostat may hide it."
            ),
            "They conserve energy if the network is equivariant.": (
                "Equivariance is about rotations. A swirl is equivariant and does work."
            ),
        },
    ),
    Question(
        "On 500 molecules from the front of QM9's files a model errs by 10 meV, and on 500 drawn "
        "at random by 40 meV. Which number do you report?",
        {
            "40 meV: the files are sorted by size, and the front holds the smallest molecules.": (
                "A test stands for the set that the claim is about. Drawing at random is the "
                "simplest way to that."
            ),
            "10 meV: both tests are unseen molecules.": (
                "Unseen, but not like the rest: they have half as many atoms."
            ),
            "The mean, 25 meV.": "A mean of a biased and an unbiased number is biased.",
            "10 meV, with the remark that large molecules are harder.": (
                "The remark is right, but the headline would still be a number of another test."
            ),
        },
    ),
]
