"""Telling people of an alert, by one channel: a program of its own, which a delivery runs like any other transport."""
