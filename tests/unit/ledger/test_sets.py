from worker.ledger import sets


def test_parts_have_few_lengths_and_lose_nothing() -> None:
    lengths = set()
    for count in range(300):
        parts = list(sets.of(range(count)))
        assert {one for part in parts for one in part} == set(range(count))
        lengths |= {len(part) for part in parts}
    assert lengths == {1 << n for n in range(8)}
    assert sets.marks(4) == "(?, ?, ?, ?)"
