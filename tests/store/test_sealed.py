"""Sealed files: whoever reads one knows that it is whole, and whose it is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.store.sealed import BrokenSealError, check_seal, seal_of

CONTENT = bytes(range(256)) * 3
SEALED = CONTENT + seal_of(CONTENT, "0123456789abcdef")


def test_a_sealed_file_is_its_owners():
    check_seal(SEALED, "0123456789abcdef")
    check_seal(seal_of(b"", "run"), "run")


@settings(deadline=None)
@given(st.integers(0, len(SEALED) - 1), st.integers(0, 7))
def test_any_flipped_bit_shows(place, bit):
    damaged = bytearray(SEALED)
    damaged[place] ^= 1 << bit
    with pytest.raises(BrokenSealError):
        check_seal(bytes(damaged), "0123456789abcdef")


@settings(deadline=None)
@given(st.integers(0, len(SEALED) - 1))
def test_a_file_that_ends_early_has_no_seal(length):
    with pytest.raises(BrokenSealError, match="is incomplete"):
        check_seal(SEALED[:length], "0123456789abcdef")


def test_what_somebody_else_has_sealed_is_told_from_damage():
    with pytest.raises(BrokenSealError, match=r"^is of another training \(0123456789abcdef\)$"):
        check_seal(SEALED, "fedcba9876543210")
    renamed = SEALED.replace(b"for 0123456789abcdef", b"for fedcba9876543210")
    with pytest.raises(BrokenSealError, match="is damaged"):
        check_seal(renamed, "fedcba9876543210")
    with pytest.raises(BrokenSealError, match="is incomplete"):
        check_seal(SEALED + b" ", "0123456789abcdef")
