"""Simulated surfaces: what a candidate would score, as formulas, over real search spaces with exact costs.

A surface belongs to a family and has a number. Numbers 0 to 9 are for development: samplers may be tuned on
them. Numbers from 100 on are for reports, and nothing is ever tuned on them.
"""
