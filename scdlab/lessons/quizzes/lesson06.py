"""The quiz of lesson 06: every method on one molecule."""

from scdlab.lessons.quizzes import Question

QUESTIONS = [
    Question(
        "For one molecule, a network trained on DFT gives a total energy that is thousands of eV "
        "below that of GFN2-xTB. What follows?",
        {
            "Nothing: each level of theory has a zero of its own. Compare forces, or differences "
            "of energies of one composition.": "GFN2-xTB counts valence electrons only, DFT counts "
            "all. Both may have the same slope everywhere.",
            "The network is wrong by thousands of eV.": "Its forces tell whether it is wrong; a "
            "constant has no slope.",
            "DFT binds the molecule more strongly.": "A binding energy is a difference to the free "
            "atoms at the same level. Total energies of two levels say nothing of it.",
            "The network was trained in other units.": "All of the kit's energies are in eV. The "
            "difference is which electrons are counted.",
        },
    ),
    Question(
        "Two models that learned from the same labels agree on the forces of a molecule to within "
        "10 meV/Å. How large is their error?",
        {
            "At least as large as their labels' and possibly much larger: what both get wrong "
            "alike does not show.": "The spread is a lower bound of trouble, never an upper one. "
            "Two networks that saw the same molecules share the same blind spots.",
            "About 10 meV/Å.": "That would hold if their errors were independent and their mean "
            "were right. Both learned from the same structures.",
            "Smaller than 10 meV/Å, since averages are better.": "The mean of two models that err "
            "alike errs as they do.",
        },
    ),
    Question(
        "An interval promises to hold nine in ten, and was calibrated on QM9. Your molecule has 30 "
        "heavy atoms. What is the promise worth?",
        {
            "Nothing can be said: the promise is for molecules drawn as those that calibrated it, "
            "of up to nine heavy atoms.": "The ranks of residuals are exchangeable only among "
            "molecules of one distribution. The interval looks the same, and that is the danger.",
            "Nine in ten as well: the promise holds for any network.": "For any network, but not "
            "for any molecule.",
            "A little less than nine in ten.": "It may be all or none. Nothing in the number says "
            "which.",
        },
    ),
    Question(
        "A denoiser was told the description of another molecule, and leaves more noise than when "
        "it is told nothing. What does that show?",
        {
            "That it uses what it is told; whether its own description helps is another "
            "question.": "The wrong description does harm only to a network that listens. The gain "
            "is the difference between own and none.",
            "That its own description must help.": "On minima of QM9 own and none leave nearly "
            "the same, while another's does harm: lesson 04.",
            "That the network was not trained enough.": "A network that was not trained would not "
            "care what it is told.",
        },
    ),
    Question(
        "After ECSE the energy of your molecule is the same in every orientation, to twelve "
        "digits. What has become of its force error?",
        {
            "It may be as large as before: symmetry removes one kind of error, and leaves what the "
            "network does not know.": "A PET that saw only ethanol is exactly symmetric about "
            "vanillin, and exactly as ignorant.",
            "It is now as small as the symmetry error.": "An exact law says nothing of the "
            "numbers that obey it.",
            "It has grown, since averages blur.": "Averages over frames usually lower the error a "
            "little; by themselves they do not blur a function that was right.",
        },
    ),
]
