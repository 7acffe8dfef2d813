#include "Product.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace emulation {

namespace {

constexpr size_t tileRows = 8, tileColumns = 4;

float widen(uint16_t bits) {
    uint32_t wide = uint32_t(bits) << 16;
    float value;
    memcpy(&value, &wide, 4);
    return value;
}

/// To the nearest, ties to even; not-a-number stays one.
uint16_t narrow(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if (value != value) return uint16_t(bits >> 16 | 0x40);
    return uint16_t((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

float roundedToTF32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    // Infinity and not-a-number are kept.
    if ((bits & 0x7F800000) == 0x7F800000) return value;
    bits = (bits + 0x1000) & 0xFFFFE000;
    memcpy(&value, &bits, 4);
    return value;
}

float element(const Operand &operand, size_t row, size_t column, bool tf32) {
    size_t index = operand.transposed ? column + row * operand.leading : row + column * operand.leading;
    if (operand.number == Number::bfloat16) return widen(static_cast<const uint16_t *>(operand.data)[index]);
    float value = static_cast<const float *>(operand.data)[index];
    return tf32 ? roundedToTF32(value) : value;
}

float load(const Result2D &matrix, size_t index) {
    return matrix.number == Number::float32 ? static_cast<const float *>(matrix.data)[index]
                                            : widen(static_cast<const uint16_t *>(matrix.data)[index]);
}

void store(const Result2D &matrix, size_t index, float value) {
    if (matrix.number == Number::float32) static_cast<float *>(matrix.data)[index] = value;
    else static_cast<uint16_t *>(matrix.data)[index] = narrow(value);
}

/// Strips of `width` rows of the operand (of its transpose for B), the inner index outermost; padded with zeros.
std::vector<float> packed(const Operand &operand, size_t count, size_t inner, size_t width, bool ofColumns, bool tf32) {
    std::vector<float> strips((count + width - 1) / width * width * inner, 0);
    for (size_t start = 0; start < count; start += width) {
        float *strip = strips.data() + start * inner;
        for (size_t step = 0; step < inner; ++step)
            for (size_t index = start; index < std::min(start + width, count); ++index)
                strip[step * width + index - start] =
                    ofColumns ? element(operand, step, index, tf32) : element(operand, index, step, tf32);
    }
    return strips;
}

}  // namespace

void multiply(
    size_t rows, size_t columns, size_t inner, float alpha, const Operand &a, const Operand &b, float beta, const Result2D &c,
    const Result2D &d, bool tf32) {
    std::vector<float> left = packed(a, rows, inner, tileRows, false, tf32);
    std::vector<float> right = packed(b, columns, inner, tileColumns, true, tf32);
    for (size_t column = 0; column < columns; column += tileColumns) {
        for (size_t row = 0; row < rows; row += tileRows) {
            float sums[tileColumns][tileRows] = {};
            const float *l = left.data() + row * inner, *r = right.data() + column * inner;
            for (size_t step = 0; step < inner; ++step, l += tileRows, r += tileColumns)
                for (size_t j = 0; j < tileColumns; ++j)
                    for (size_t i = 0; i < tileRows; ++i) sums[j][i] += l[i] * r[j];
            for (size_t j = 0; j < std::min(tileColumns, columns - column); ++j) {
                for (size_t i = 0; i < std::min(tileRows, rows - row); ++i) {
                    float value = alpha * sums[j][i];
                    if (beta != 0) value += beta * load(c, row + i + (column + j) * c.leading);
                    store(d, row + i + (column + j) * d.leading, value);
                }
            }
        }
    }
}

}  // namespace emulation
