import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchcrux.run.protocol import HEADER, Decoder, ProtocolError, encode

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.lists(json), st.integers(1, 50))
def test_messages_survive_any_chunks(messages, size):
    stream = b"".join(map(encode, messages))
    decoder = Decoder()
    chunks = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert [message for chunk in chunks for message in decoder.feed(chunk)] == messages


@given(json, st.data())
def test_what_was_cut_short_is_no_message(message, data):
    frame = encode(message)
    assert Decoder().feed(frame[: data.draw(st.integers(0, len(frame) - 1))]) == []


@given(json, st.data())
def test_what_was_written_over_is_no_message(message, data):
    frame = bytearray(encode(message))
    frame[data.draw(st.integers(4, len(frame) - 1))] ^= 1
    with pytest.raises(ProtocolError):
        Decoder().feed(bytes(frame))


def test_an_absurd_length_is_not_waited_for():
    with pytest.raises(ProtocolError):
        Decoder().feed(b"\xff" * HEADER)
