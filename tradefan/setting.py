"""What a setting says of itself: its unit and what it means; and the JSON Schema of all of a plug-in.

collar_bps: Annotated[Decimal, unit("bps", "the worst price of a crossing child")] = Decimal(50)
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from msgspec import NODEFAULT, Meta, Struct

from tradefan.spans import Span, schema_of
from tradefan.units import MS, SECOND, plain


def unit(name: str, text: str) -> Meta:
    """Return what stands in the schema of a setting: `x-unit` and its description."""
    return Meta(description=text, extra_json_schema={"x-unit": name})


def settings_schema(settings: type[Struct]) -> dict[str, Any]:
    """Return the JSON Schema of settings, with defaults as people write them.

    Raises:
        TypeError: a type that no schema describes.
    """
    return msgspec.json.schema(_written(settings), schema_hook=schema_of)


def _written(settings: type[Struct]) -> type[Struct]:
    """Return settings whose defaults can be written: msgspec writes only those of its own types."""
    fields = [
        (
            field.encode_name,
            field.type,
            msgspec.field(default_factory=field.default_factory)
            if field.default_factory is not NODEFAULT
            else _text(field.default),
        )
        for field in msgspec.structs.fields(settings)
    ]
    given = [one if one[2] is not NODEFAULT else one[:2] for one in fields]
    known = settings.__struct_config__.forbid_unknown_fields
    made: type[Struct] = msgspec.defstruct(
        settings.__name__,
        given,
        namespace={"__doc__": settings.__doc__},
        kw_only=True,
        forbid_unknown_fields=known,
    )
    return made


def _text(default: object) -> object:
    if isinstance(default, Span):
        return f"{default // MS}ms" if default % SECOND else f"{default // SECOND}s"
    return plain(default) if isinstance(default, Decimal) else default
