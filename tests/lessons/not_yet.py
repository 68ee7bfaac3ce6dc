"""Lessons that do not keep a rule of teaching yet; the lists only become shorter.

A lesson that keeps the rule must leave its list: the test of the rule fails until it does.
"""

NOT_YET = {
    # each "Predict" is followed by `lessons.predict`, and each guess is revealed later
    "predictions": [],
    # each figure, view and explorer that is shown has an alternative text
    "described": [],
    # a term of the glossary is defined, or linked to it, before it is used
    "terms": [],
    # its parts, from what one will be able to do to where to go next
    "skeleton": [],
    # five questions at the end, then how well calibrated the guesses were
    "quiz": [],
}
