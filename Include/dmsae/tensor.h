/* tensor.h: borrowed views of arrays that the host owns. */
#ifndef DMSAE_TENSOR_H
#define DMSAE_TENSOR_H

#include "types.h"

DMSAE_BEGIN

/* ---- Dense --------------------------------------------------------------------------------------------------------
 *
 * DMSAE-TENSOR-01  A view, what it points at and the data are valid until the call they were passed to returns. A
 *                  plugin keeps no pointer to them and does not write through one marked DMSAE_TENSOR_READ_ONLY.
 * DMSAE-TENSOR-02  In this version every tensor is on the CPU, float32 with one lane, row-major without gaps,
 *                  byte_offset 0, and the data of one with two dimensions begins at a multiple of 64 bytes. Other
 *                  forms will go only to plugins that declare them.
 * DMSAE-TENSOR-03  As in DLPack since 1.2 `strides` is never null where ndim is not 0, on hosts of all versions. To a plugin
 *                  whose abi_minor_min is 3 or more, flags have DLPack's meaning where DLPack has one: bit 0x2 (IS_COPIED
 *                  there) is never set, and DMSAE_TENSOR_CONTIGUOUS is another bit. To others both bits are set.
 *
 * Rationale: the fields up to byte_offset have the order and the meaning of DLPack's DLTensor, and codes and device
 * types its numbers, so that a plugin in Python can hand the data to an array library without a copy. DLPack itself is
 * an exchange of *owned* tensors, has no sparse form, and distributions carry copies from before its version 1.0.
 */
#define DMSAE_DEVICE_CPU 1 /* kDLCPU. Data of any other device must not be dereferenced. */

#define DMSAE_DTYPE_INT 0u    /* kDLInt */
#define DMSAE_DTYPE_UINT 1u   /* kDLUInt */
#define DMSAE_DTYPE_FLOAT 2u  /* kDLFloat */
#define DMSAE_DTYPE_BFLOAT 4u /* kDLBfloat */

#define DMSAE_TENSOR_READ_ONLY 0x1ull /* DLPACK_FLAG_BITMASK_READ_ONLY */
/* Row-major without gaps: strides say nothing more. */
#if DMSAE_ABI_MINOR_REQUIRED >= 3
#define DMSAE_TENSOR_CONTIGUOUS 0x100ull
#else
#define DMSAE_TENSOR_CONTIGUOUS 0x2ull
#endif

/* Frozen. */
typedef struct dmsae_device {
    int32_t type; /* DMSAE_DEVICE_... */
    int32_t id;   /* 0 for the CPU */
} dmsae_device;

/* Frozen. float32 is {DMSAE_DTYPE_FLOAT, 32, 1}. */
typedef struct dmsae_dtype {
    uint8_t code; /* DMSAE_DTYPE_... */
    uint8_t bits;
    uint16_t lanes;
} dmsae_dtype;

/* Frozen: element sizes and offsets never change. */
typedef struct dmsae_tensor {
    void *data; /* the host's; not null even where a dimension is 0 */
    dmsae_device device;
    int32_t ndim;
    dmsae_dtype dtype;
    const int64_t *shape;                  /* [ndim] the host's */
    const int64_t *DMSAE_NULLABLE strides; /* [ndim] in elements, the host's; DMSAE-TENSOR-03 */
    uint64_t byte_offset;
    uint64_t flags;            /* DMSAE_TENSOR_... ; DMSAE-GROWTH-07 */
    void *DMSAE_NULLABLE sync; /* null on the CPU: what to wait for before reading */
    uint64_t reserved[3];
} dmsae_tensor;

/* ---- Sparse -------------------------------------------------------------------------------------------------------
 *
 * Compressed rows: the entries of row r are row_offsets[r] <= e < row_offsets[r + 1], entry e is the value values[e]
 * in column column_indices[e]. "CSR order" is ascending e: by row, then by column.
 *
 *     [[0, 5, 0],     rows 2, columns 3, count 3
 *      [7, 0, 9]]     row_offsets {0, 1, 3}, column_indices {1, 0, 2}, values {5, 7, 9}
 *
 * DMSAE-CSR-01  row_offsets[0] is 0, row_offsets[rows] is count, and none is less than the one before.
 * DMSAE-CSR-02  Within a row the columns ascend and none occurs twice; each is in 0 <= column < columns.
 * DMSAE-CSR-03  No stored value is zero, NaN or infinite.
 * DMSAE-CSR-04  As DMSAE-TENSOR-01, and all of it is read-only. Each array begins at a multiple of 64 bytes.
 *
 * Rationale: at 4096 tokens, 16384 latents and 64 active the dense matrix takes 256 MiB, this form 2 MiB.
 */
/* Frozen. */
typedef struct dmsae_csr {
    int64_t rows;
    int64_t columns;
    int64_t count;
    const int64_t *row_offsets;    /* [rows + 1] the host's */
    const int32_t *column_indices; /* [count] the host's; not null even if count is 0 */
    const float *values;           /* [count] the host's; not null even if count is 0 */
    uint64_t reserved[2];
} dmsae_csr;

DMSAE_END

#endif
