"""Keys in S3's order, and listings that cost what they list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiosmrt.local._s3.ordered_keys import OrderedKeys, after_prefix

TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("ab/\0\U0010ffff"))


def listed(keys):
    found, start = [], ""
    while (key := keys.first_from(start)) is not None:
        found.append(key)
        start = f"{key}\0"
    return found


@given(st.lists(TEXTS, unique=True), st.data())
def test_the_order_is_that_of_the_utf_8_bytes(texts, data):
    keys = OrderedKeys()
    for text in texts:
        keys.add(text)
    gone = data.draw(st.sets(st.sampled_from(texts)) if texts else st.just(set()))
    for text in gone:
        keys.remove(text)
    left = sorted(set(texts) - gone, key=str.encode)
    assert listed(keys) == left
    start = data.draw(TEXTS)
    assert keys.first_from(start) == next((text for text in left if text >= start), None)


def test_many_keys_in_any_order():
    for step in (1, 7919):  # the second in no order
        keys = OrderedKeys()
        texts = [f"{number * step % 10_007:05d}" for number in range(10_007)]
        for text in texts:
            keys.add(text)
        assert listed(keys) == sorted(texts)
        for text in texts[::2]:
            keys.remove(text)
        assert listed(keys) == sorted(texts[1::2])
        for text in texts[1::2]:
            keys.remove(text)
        assert listed(keys) == []


@given(TEXTS, TEXTS)
def test_what_comes_after_a_prefix(prefix, text):
    after = after_prefix(prefix)
    begins = text.startswith(prefix)
    assert begins == (prefix <= text and (after is None or text < after))
