"""The generated text equals MLX's own, byte for byte."""

from __future__ import annotations

import random
import re

import mlx.core as mx
import pytest

from mlx_speech.metal_kernels.emulate.generate import (
    ATTRIBUTES,
    GeneratedText,
    generate,
)
from mlx_speech.metal_kernels.emulate.oracle import mlx_text
from mlx_speech.metal_kernels.emulate.preamble import preamble, preamble_names
from mlx_speech.metal_kernels.text import KernelText

DTYPES = [
    *(mx.float32, mx.float16, mx.bfloat16, mx.complex64, mx.bool_),
    *(mx.int8, mx.int16, mx.int32, mx.int64),
    *(mx.uint8, mx.uint16, mx.uint32, mx.uint64),
]
SHAPES = [(), (1,), (7,), (8,), (4, 16), (2, 3, 5), (2, 2), (0, 3)]


def random_signature(draw: random.Random) -> tuple[KernelText, list, list, list, list]:
    inputs = [
        (draw.choice(SHAPES), draw.choice(DTYPES)) for _ in range(draw.randint(0, 4))
    ]
    names = [f"in{i}" for i in range(len(inputs))]
    outputs = [f"out{i}" for i in range(draw.randint(1, 3))]
    words = draw.sample([name for name, _ in ATTRIBUTES], draw.randint(0, 5))
    for name in names:
        for suffix in ("shape", "strides", "ndim"):
            if draw.random() < 0.3:
                words.append(draw.choice(["", "// my_"]) + f"{name}_{suffix}\n")
    template = draw.choice(
        [
            [],
            [("T", draw.choice(DTYPES))],
            [
                ("T", draw.choice(DTYPES)),
                ("N", draw.randint(-5, 4096)),
                ("FLAG", draw.random() < 0.5),
            ],
        ]
    )
    kernel = KernelText(
        f"kernel{draw.randint(0, 9)}",
        tuple(names),
        tuple(outputs),
        draw.choice(["", "// a helper\n#define X 1\n", "#define Y 2\n"]),
        " ".join(words) + draw.choice(["", "\n"]),
        atomic_outputs=draw.random() < 0.2,
    )
    shapes = [draw.choice(SHAPES[1:]) for _ in outputs]
    return kernel, inputs, shapes, [draw.choice(DTYPES) for _ in outputs], template


@pytest.mark.parametrize("seed", range(8))
def test_random_signatures_equal_mlx_byte_for_byte(seed: int) -> None:
    draw = random.Random(seed)
    for _ in range(25):
        kernel, inputs, shapes, dtypes, template = random_signature(draw)
        expected = mlx_text(kernel, inputs, shapes, dtypes, template)
        assert generate(kernel, inputs, dtypes, template).text == expected


def example() -> GeneratedText:
    kernel = KernelText(
        "k",
        ("x",),
        ("y",),
        "// one\n// two\n",
        "uint i = thread_position_in_grid.x;\ny[i] = x[i];\n",
    )
    return generate(kernel, [((8,), "float32")], ["float32"], [("N", 3)])


def test_lines_lead_back_to_the_author() -> None:
    made = example()
    lines = made.text.split("\n")
    body = lines.index("y[i] = x[i];") + 1
    assert made.place(2) == "k, header line 2"
    assert made.place(body) == "k, source line 2"
    assert made.line(body) == "y[i] = x[i];"
    assert made.place(3) == "k, signature"


def test_the_definition_is_the_text_without_its_instantiation() -> None:
    made = example()
    assert made.definition.endswith("y[i] = x[i];\n\n}\n")
    assert "host_name" not in made.definition
    assert made.template_arguments == "<3>"


def test_wrong_numbers_of_arrays_are_refused() -> None:
    kernel = KernelText("k", ("x",), ("y",), "", "thread_position_in_grid")
    with pytest.raises(ValueError, match="1 inputs, 0 given"):
        generate(kernel, [], ["float32"])
    with pytest.raises(ValueError, match="1 outputs, 2 given"):
        generate(kernel, [((1,), "float32")], ["float32", "float32"])
    with pytest.raises(ValueError, match="float64"):
        generate(kernel, [((1,), "float64")], ["float32"])
    many = KernelText("k", tuple(f"x{i}" for i in range(31)), ("y",), "", "")
    with pytest.raises(ValueError, match="32 buffers"):
        generate(many, [((1,), "float32")] * 31, ["float32"])


def test_the_preamble_is_that_of_the_installed_wheel() -> None:
    text = preamble()
    titles = re.findall(r'^// Contents from "(.*)"$', text, re.MULTILINE)
    assert [title.rsplit("/", 1)[1] for title in titles] == [
        *("bf16.h", "bf16_math.h", "complex.h", "defines.h", "logging.h", "utils.h")
    ]
    assert "#pragma once" not in text
    assert {"complex64_t", "elem_to_loc", "ceildiv", "bfloat16_t"} <= preamble_names()
