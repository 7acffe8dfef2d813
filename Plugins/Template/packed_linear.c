/* A packed function as TVM FFI exports them, for packed.c: -a * <g_t, W_dec[j]>. In C++ with tvm/ffi/tvm_ffi.h it would be
 * TVM_FFI_DLL_EXPORT_TYPED_FUNC(score, function of six TensorViews); this one needs nothing of that library. */
#include "dmsae/tensor.h"

typedef struct {
    int32_t type_index;
    uint32_t padding;
    const void *value;
} packed_value;

int __tvm_ffi_score(void *handle, const packed_value *args, int32_t count, packed_value *result);

int __tvm_ffi_score(void *handle, const packed_value *args, int32_t count, packed_value *result) {
    (void)handle, (void)result;
    if (count != 6) return -1;
    const dmsae_tensor *t[6]; /* which begin as DLTensors do */
    for (int i = 0; i < 6; i++) {
        if (args[i].type_index != 7) return -1; /* DLTensor * */
        t[i] = args[i].value;
    }
    const int64_t rows = t[0]->shape[0] - 1, d = t[3]->shape[1], *offsets = t[0]->data;
    const int32_t *columns = t[1]->data;
    const float *activations = t[2]->data, *decoder = t[3]->data, *gradient = t[4]->data;
    float *scores = t[5]->data;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t e = offsets[row]; e < offsets[row + 1]; e++) {
            double dot = 0;
            for (int64_t i = 0; i < d; i++) dot += (double)gradient[row * d + i] * decoder[columns[e] * d + i];
            scores[e] = (float)(-activations[e] * dot);
        }
    return 0;
}
