"""The quiz of lesson 06: every method on one molecule."""

from scdlab.lessons.quizzes import Question

QUESTIONS = [
    Question(
        "For one molecule, a network trained on DFT gives a total energy that is thousands of eV "
        "below that of GFN2-xTB. What follows?",
        {
            "Nothing yet: compare forces, or energy differences.": "Each level of theory has a "
            "zero of its own: GFN2-xTB counts valence electrons only, DFT counts all. Differences "
            "between geometries of one molecule are free of it, and so are slopes.",
            "The network is wrong by thousands of eV.": "Its forces tell whether it is wrong; a "
            "constant has no slope.",
            "DFT binds the molecule more strongly than GFN2-xTB does.": "A binding energy is a "
            "difference to the free atoms at the same level. Total energies of two levels say "
            "nothing of it.",
            "The network was trained in other units.": "All of the kit's energies are in eV. The "
            "difference is which electrons are counted.",
        },
    ),
    Question(
        "Two models that learned from the same labels agree on the forces of a molecule to within "
        "10 meV/Å. How large is their error?",
        {
            "Their agreement does not say.": "The squared errors of the two, in the mean, are the "
            "squared error of their mean plus the squared spread. The spread shows the second part "
            "alone: what both get wrong alike does not show.",
            "About 10 meV/Å.": "That would hold if their errors were independent and without a "
            "common part. Both learned from the same structures.",
            "At most 10 meV/Å, since averages are better.": "The mean of two models that err alike "
            "errs as they do.",
        },
    ),
    Question(
        "An interval promises to hold nine in ten, and was calibrated on QM9. Your molecule has 30 "
        "heavy atoms. What is the promise worth?",
        {
            "Nothing is promised for this molecule.": "The promise is for molecules drawn as "
            "those that calibrated it, of up to nine heavy atoms: only among these does each place "
            "in the order of the errors have the same probability. The interval looks as usual, "
            "and that is the danger.",
            "Nine in ten, as for any network.": "For any network, but not for any molecule.",
            "A little less than nine in ten, since it is larger.": "It may be all or none. Nothing "
            "in the number says which.",
        },
    ),
    Question(
        "A denoiser was told the description of another molecule, and leaves more noise than when "
        "it is told nothing. What does that show?",
        {
            "That it uses what it is told.": "The wrong description does harm only to a network "
            "that listens. Whether its own description helps is another question: that gain is the "
            "difference between own and none.",
            "That its own description must help.": "In the mean over minima of QM9 own and none "
            "leave nearly the same, while another's does harm (lesson 04).",
            "That it was not trained enough.": "A network that was not trained would not care what "
            "it is told.",
        },
    ),
    Question(
        "After ECSE the energy of your molecule is the same in every orientation, to the last "
        "digit. What has become of its force error?",
        {
            "It may be as large as it was before.": "Symmetry removes one kind of error, and "
            "leaves what the network does not know. A PET that saw only ethanol is exactly "
            "symmetric about vanillin, and exactly as ignorant.",
            "It is now as small as the symmetry error.": "An exact law says nothing of the "
            "numbers that obey it.",
            "It has surely grown, since averages blur.": "It may grow or shrink a little: on "
            "vanillin we found 810 meV/Å without and 860 with ECSE. An average of the answers in "
            "several frames does not blur a function that was right in each.",
        },
    ),
]
