"""Quantities as types of the configuration: parsed from text, written back as text, described in the schema.

Apart from :mod:`rigappliance.units`, since pydantic takes longer to import than
a verb that only needs to parse a time may take to start.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from rigappliance.units import (
    PERCENT_PATTERN,
    SIZE_PATTERN,
    TIME_PATTERN,
    check_memory_limit,
    exact_duration,
    exact_size,
    parse_duration,
    parse_size,
)

ByteSize = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(exact_size, return_type=str),
    WithJsonSchema({"type": "string", "pattern": SIZE_PATTERN, "examples": ["128GiB", "77.1GB"]}),
]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(exact_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": TIME_PATTERN, "examples": ["15min", "90s"]}),
]

MemoryLimit = Annotated[
    str,
    BeforeValidator(check_memory_limit),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"({PERCENT_PATTERN})|({SIZE_PATTERN})",
            "examples": ["90%", "14GiB"],
        }
    ),
]
