"""What comes in: folders, manifests and lists -> `Pictures`; bytes -> right RGB; contact sheets.

Promises: order does not depend on the system, every bad picture has a reason, no input is changed.
Must not know: networks, codes, the cache; torch is never imported.
"""

from tlfeatures.pictures._copies import Copies, find_exact_copies
from tlfeatures.pictures._given import as_pictures, labelled_pictures, load_pictures
from tlfeatures.pictures._pictures import Pictures, describe_kinds
from tlfeatures.pictures._range import estimate_range
from tlfeatures.pictures._readable import all_unreadable, check_readable
from tlfeatures.pictures._sheets import contact_sheet, data_uri, png_bytes, save_png, thumbnail
from tlfeatures.pictures._show import show_row
from tlfeatures.pictures.decoding._damage import find_damage
from tlfeatures.pictures.decoding._decode import (
    Decoded,
    DecodeOptions,
    decode,
    decode_with_notes,
    decoder_versions,
    orientation_of,
)
from tlfeatures.pictures.decoding._digest import bad_key, content_digest, row_key
from tlfeatures.pictures.decoding._header import Header, read_header
from tlfeatures.pictures.decoding._open import as_bytes, read_bytes

__all__ = [
    "Copies",
    "DecodeOptions",
    "Header",
    "Decoded",
    "Pictures",
    "all_unreadable",
    "as_bytes",
    "as_pictures",
    "bad_key",
    "check_readable",
    "contact_sheet",
    "content_digest",
    "data_uri",
    "decode",
    "decode_with_notes",
    "decoder_versions",
    "describe_kinds",
    "estimate_range",
    "find_damage",
    "find_exact_copies",
    "labelled_pictures",
    "load_pictures",
    "orientation_of",
    "png_bytes",
    "read_bytes",
    "read_header",
    "row_key",
    "save_png",
    "show_row",
    "thumbnail",
]
