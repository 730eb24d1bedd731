"""Generative modelling with any Markov process."""
