"""Mutation of answers: wrong answers made from right ones, and whether the checks reject them."""
