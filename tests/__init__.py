"""The tests; `tests.fakes` is shared by them and can also be run by hand."""
