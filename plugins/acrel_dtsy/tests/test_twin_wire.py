import pytest

from meterplex_acrel_dtsy.twin_wire import crc16, decipher, is_sealed, seal

# Frames of the sheet, sections 3, 4, 4a, 4b, 7, 10.
FRAMES = [
    "01 03 02 00 00 30 44 66",
    "01 03 04 00 00 19 85 30",
    "01 03 00 46 00 1C A5 D6",
    "01 10 00 57 00 02 04 00 01 00 01 27 75",
    "01 10 00 57 00 02 04 00 01 00 00 E6 B5",
    "01 10 00 57 00 02 04 00 00 00 00 B7 75",
    "01 20 01 00 00 04 08 00 00 27 10 00 05 00 00 53 DE",
    "01 03 30 01 00 06 9B 08",
    "01 03 0C 12 01 08 0A 01 01 01 00 00 00 00 00 80 23",
]


@pytest.mark.parametrize("text", FRAMES)
def test_frames_of_the_sheet_carry_this_crc(text: str) -> None:
    frame = bytes.fromhex(text)

    assert is_sealed(frame)
    assert seal(frame[:-2]) == frame


def test_crc_check_value() -> None:
    # The check value that catalogues of CRCs give for CRC-16/MODBUS over "123456789".
    assert crc16(b"123456789") == 0x4B37


@pytest.mark.parametrize("bit", range(64))
def test_any_flipped_bit_breaks_the_seal(bit: int) -> None:
    frame = bytearray.fromhex(FRAMES[0])
    frame[bit // 8] ^= 1 << bit % 8

    assert not is_sealed(bytes(frame))


def test_short_bursts_are_not_sealed() -> None:
    assert not is_sealed(b"")
    assert not is_sealed(b"\xff\xff")


def test_cipher_vector_of_the_sheet() -> None:
    # Sheet section 7: the sale frame, padded to 20 bytes, key 1111 2222 3333 4444.
    ciphered = bytes.fromhex("E095D388D754BEC906FFC58301E8D98270EDF987")

    plain = decipher(ciphered, (0x1111, 0x2222, 0x3333, 0x4444))

    assert plain == bytes.fromhex(FRAMES[6]) + bytes(3)
