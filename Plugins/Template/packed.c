/* A scorer that calls a packed function of Apache TVM FFI, which may be written in whatever exports one:
 *
 *     score(row_offsets, columns, activations, decoder, gradient, scores)
 *
 * the codes in compressed rows (i64 [N + 1], i32 [E], f32 [E]), W_dec f32 [m, d], g f32 [N, d], and f32 [E] to be written. Linked
 * with the file that has it. A dmsae_tensor begins as a DLTensor does, so tensors are handed on as they are. */
#include <stdio.h>
#include "dmsae/single_scorer.h"

/* TVMFFIAny: an index of a type, and the value. */
typedef struct {
    int32_t type_index;
    uint32_t padding;
    const void *value;
} packed_value;
enum { PACKED_NONE = 0, PACKED_DLTENSOR = 7, PACKED_FIRST_OBJECT = 64 };

int __tvm_ffi_score(void *handle, const packed_value *args, int32_t count, packed_value *result);
/* The runtime's, where the function is linked with it: the error that was raised, whose kind and message come after a head of 24
 * bytes. It stays allocated: a command ends with it. */
__attribute__((weak)) void TVMFFIErrorMoveFromRaised(char **error);
typedef struct {
    const char *text;
    size_t size;
} packed_text;

static void explain(int code, dmsae_call *call) {
    char *error = 0;
    if (call->error_capacity == 0) return;
    if (TVMFFIErrorMoveFromRaised) TVMFFIErrorMoveFromRaised(&error);
    if (!error) {
        snprintf(call->error, call->error_capacity, "the packed function returned %d", code);
        return;
    }
    const packed_text *kind = (const packed_text *)(error + 24), *message = kind + 1;
    snprintf(call->error, call->error_capacity, "%.*s: %.*s", (int)kind->size, kind->text, (int)message->size, message->text);
}

static dmsae_tensor vector(const void *data, const int64_t *count, dmsae_dtype type) {
    static const int64_t stride = 1;
    dmsae_tensor result = {(void *)data, {DMSAE_DEVICE_CPU, 0}, 1, type, count, &stride, 0, 0, 0, {0, 0, 0}};
    return result;
}

static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
    (void)self;
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    const dmsae_csr *codes = batch->codes;
    const int64_t offset_count = codes->rows + 1;
    const dmsae_dtype i64 = {DMSAE_DTYPE_INT, 64, 1}, i32 = {DMSAE_DTYPE_INT, 32, 1}, f32 = {DMSAE_DTYPE_FLOAT, 32, 1};
    const dmsae_tensor offsets = vector(codes->row_offsets, &offset_count, i64),
                       columns = vector(codes->column_indices, &codes->count, i32),
                       activations = vector(codes->values, &codes->count, f32), out = vector(scores, &codes->count, f32);
    const dmsae_tensor *const tensors[] = {&offsets, &columns, &activations, batch->decoder, batch->gradient, &out};
    packed_value args[6], result = {PACKED_NONE, 0, 0};
    for (int i = 0; i < 6; i++) args[i] = (packed_value){PACKED_DLTENSOR, 0, tensors[i]};
    const int code = __tvm_ffi_score(0, args, 6, &result);
    if (code == 0 && result.type_index < PACKED_FIRST_OBJECT) return DMSAE_OK;
    if (code == 0) snprintf(call->error, call->error_capacity, "the packed function returned an object");
    else explain(code, call);
    return DMSAE_ERR_FAILED;
}
DMSAE_SINGLE_SCORER("packed", "1.0.0", "Apache-2.0", "A packed function of TVM FFI", DMSAE_PLUGIN_NEEDS_GRADIENT, score)
