import pytest

from meterplex.protocols.errors import EncodeError
from meterplex_acrel_dtsy.cipher import CommandCipher

KEY = CommandCipher((0x1111, 0x2222, 0x3333, 0x4444))

# A sale of 100.00 as purchase 5 to address 1, plain and enciphered with the key above; computed
# from the published description of the commissioning tool, not recorded from a meter.
PLAIN = bytes.fromhex("01 20 01 00 00 04 08 00 00 27 10 00 05 00 00 53 DE")
ENCIPHERED = bytes.fromhex("E0 95 D3 88 D7 54 BE C9 06 FF C5 83 01 E8 D9 82 70 ED F9 87")


def test_frame_is_padded_and_enciphered() -> None:
    assert KEY(PLAIN) == ENCIPHERED


def test_whole_blocks_are_not_padded() -> None:
    assert KEY(PLAIN[:16]) == ENCIPHERED[:16]


def test_another_key_gives_other_bytes() -> None:
    assert CommandCipher((0x1111, 0x2222, 0x3333, 0x4445))(PLAIN) != ENCIPHERED


@pytest.mark.parametrize("text", ["1111 2222 3333 4444", "1111222233334444", " 1111 22223333 4444"])
def test_key_is_read_from_text(text: str) -> None:
    assert CommandCipher.parse(text) == KEY


@pytest.mark.parametrize("text", ["", "1111 2222 3333", "1111 2222 3333 4444 5555", "key!"])
def test_bad_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(EncodeError) as refusal:
        CommandCipher.parse(text)
    assert not text or text not in str(refusal.value)


def test_key_does_not_show() -> None:
    assert "4369" not in repr(KEY)
    assert "1111" not in repr(KEY)
