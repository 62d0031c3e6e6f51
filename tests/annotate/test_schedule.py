"""How many checks are ahead: counted without the work between them, as the sequence itself has them."""

from hypothesis import given, settings
from hypothesis import strategies as st

from densedpo.annotate.schedule import Rates, count_checks, upcoming
from densedpo.store.assignments import Kind

KINDS: tuple[Kind, ...] = ("work", "work", "work", "gold", "repeat", "qualify")
SHARES = st.sampled_from([0.0, 1e-6, 0.05, 0.2, 0.5])


@settings(max_examples=150, deadline=None, database=None, derandomize=True)
@given(
    rates=st.builds(Rates, gold=SHARES, repeat=SHARES, practice=st.integers(0, 3), seed=st.integers(0, 3)),
    had=st.lists(st.sampled_from(KINDS), max_size=30),
    work=st.integers(0, 60),
    gold=st.integers(0, 12),
    practice=st.integers(0, 4),
)
def test_the_count_is_that_of_the_sequence(rates: Rates, had: list[Kind], work: int, gold: int, practice: int) -> None:
    kinds = list(upcoming(rates, "ann", had, work, gold, practice))
    assert kinds.count("work") == work
    assert count_checks(rates, "ann", had, work, gold, practice) == len(kinds) - work
