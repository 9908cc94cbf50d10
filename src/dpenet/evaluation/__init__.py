"""Measuring models and the results of other tools on pairs, and showing what was measured."""
