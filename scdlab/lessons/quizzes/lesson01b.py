"""The quiz of lesson 01b."""

from scdlab.lessons.quizzes import Question

QUESTIONS = [
    Question(
        "Why can SchNet's filters be tabulated, but not the features of its atoms?",
        {
            "A filter depends on one number, the distance; features depend on all atoms around.": (
                "A table of one number has hundreds of nodes. One of all coordinates would need "
                "more nodes than there are structures."
            ),
            "Features change during training, filters do not.": (
                "Both change: the table is made anew in every step."
            ),
            "Features are vectors, filters are numbers.": (
                "Both are vectors of d channels; a table holds d curves."
            ),
            "Only filters are smooth.": "Features are smooth as well.",
        },
    ),
    Question(
        "A cubic spline errs as h⁴ in its values. How do forces made of it err?",
        {
            "As h³.": "A force is a slope, and each derivative by r costs one power of h.",
            "As h⁴.": "Slopes are less exact than values: dividing by h costs a power.",
            "As h².": "That is the second derivative, or the value of straight lines.",
            "Not at all, because forces are exact derivatives.": (
                "They are exact derivatives of the table's energy, which is not quite the "
                "network's."
            ),
        },
    ),
    Question(
        "What goes wrong in dynamics with a table of straight lines?",
        {
            "Forces jump at the nodes, and the total energy is not conserved.": (
                "The slope of a straight line is constant between nodes. An integrator with a "
                "finite time step cannot follow the kinks of the energy."
            ),
            "Energies jump at the nodes.": (
                "Straight lines are joined at the nodes: values are continuous."
            ),
            "Forces are no longer the gradient of the energy.": (
                "They are, of the table's energy; but that energy has kinks."
            ),
            "Nothing, if the time step is short enough.": (
                "A shorter step makes it better, slowly, and costs more than a spline."
            ),
        },
    ),
    Question(
        "The bumps of the basis are 0.1 Å apart. How fine must the table be?",
        {
            "Finer than the bumps: about two nodes a bump are the least.": (
                "The curve cannot wiggle faster than the bumps it is made of. Below that spacing "
                "the error falls quickly."
            ),
            "0.5 Å is enough, because molecules are smooth.": (
                "Between such nodes whole bumps would be lost."
            ),
            "As fine as single precision, 10⁻⁷ Å.": (
                "The spline's error falls as h⁴ and reaches single precision at some hundred nodes."
            ),
            "It does not matter: training adapts the network to its table.": (
                "At test time filters are exact; what was learned with a coarse table would not "
                "fit."
            ),
        },
    ),
    Question(
        "When is a table of 512 intervals slower than the filter network itself?",
        {
            "When a batch has fewer pairs than the table has nodes.": (
                "Then the network would run more often for the table than for the pairs."
            ),
            "When the cutoff is large.": "A larger cutoff brings more pairs: it pays more.",
            "When molecules are large.": "Large molecules have many pairs: it pays more.",
            "Always, since splines cost time.": (
                "Reading four nodes costs far less than a network of two layers."
            ),
        },
    ),
]
