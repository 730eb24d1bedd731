"""The grid: every sampler with every process, law and way to draw.

`pairs` lists what the class lists of the package give, `integers` and `reals` draw a pair and
judge it against a law that is worked out in `worlds` or in closed form. A class without a recipe
here is an error, so that a new one cannot be forgotten.

    python -m grid.pairs [words]        (in tests/)

prints how many pairs there are, how many the library refuses and in which words, and those
that are wrong.
"""
