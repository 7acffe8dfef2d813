#pragma once

#include <cstddef>
#include <cstdint>

namespace emulation {

enum class Number : int { float32 = 0, bfloat16 = 14 };

constexpr size_t bytes(Number number) { return number == Number::float32 ? 4 : 2; }

/// A column-major operand: element (row, column) at row + column·leading, or the other way round if it is transposed.
struct Operand {
    const void *data;
    Number number;
    bool transposed;
    size_t leading;
};

struct Result2D {
    void *data;
    Number number;
    size_t leading;
};

/// D = alpha·A·B + beta·C with A [rows, inner], B [inner, columns], in float, each element's terms added in the order of `inner`.
/// `tf32` rounds both operands to ten bits of mantissa first, ties away from zero, as the conversion for the tensor cores
/// does. C is not read if beta is zero.
void multiply(
    size_t rows, size_t columns, size_t inner, float alpha, const Operand &a, const Operand &b, float beta, const Result2D &c,
    const Result2D &d, bool tf32);

}  // namespace emulation
