"""Screens that real agent UIs showed, with what they are, and the program that changes them."""
