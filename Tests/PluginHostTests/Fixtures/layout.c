/* The layout of every public struct as of version 0.0. A released line is never changed: a later minor version adds
 * lines for its new fields and changes the sizes of structs that may grow, and nothing else. */
#include "dmsae/dmsae.h"

#define HOLDS_(line) dmsae_layout_##line
#define HOLDS(line) HOLDS_(line)
/* An array of negative size does not compile. C99 has no static assertion. */
#define ASSERT(condition) extern char HOLDS(__LINE__)[(condition) ? 1 : -1]
#define AT(type, field, offset) ASSERT(offsetof(type, field) == (offset))

ASSERT(sizeof(void *) == 8);
ASSERT(DMSAE_ABI_MAJOR == 0 && DMSAE_ABI_MINOR == 1 && DMSAE_ABI_MINOR_REQUIRED == 0);

ASSERT(sizeof(dmsae_status) == 4);
ASSERT(sizeof(dmsae_kind) == 4);
ASSERT(sizeof(dmsae_log_level) == 4);
ASSERT(sizeof(dmsae_splice_mode) == 4);
ASSERT(sizeof(dmsae_selection_scope) == 4);
ASSERT(sizeof(dmsae_selection_mode) == 4);
ASSERT(DMSAE_OK == 0 && DMSAE_CANCELLED == 1);
ASSERT(DMSAE_ERR_FAILED == -1 && DMSAE_ERR_INVALID_ARGUMENT == -2 && DMSAE_ERR_UNKNOWN_PARAMETER == -3);
ASSERT(DMSAE_ERR_UNSUPPORTED == -4 && DMSAE_ERR_OUT_OF_MEMORY == -5 && DMSAE_ERR_INSTANCE_LOST == -6);
ASSERT(DMSAE_KIND_SCORER == 1 && DMSAE_KIND_SPARSITY_RULE == 2);
ASSERT(DMSAE_LOG_DEBUG == 1 && DMSAE_LOG_INFO == 2 && DMSAE_LOG_WARNING == 3 && DMSAE_LOG_ERROR == 4);
ASSERT(DMSAE_LOG_HOST_MISBEHAVING == 5);
ASSERT(DMSAE_SPLICE_RECONSTRUCTION == 1 && DMSAE_SPLICE_RECONSTRUCTION_PLUS_ERROR == 2);
ASSERT(DMSAE_SCOPE_ROW == 1 && DMSAE_SCOPE_BATCH == 2 && DMSAE_SCOPE_ALL == 3);
ASSERT(DMSAE_MODE_TRAIN == 1 && DMSAE_MODE_CALIBRATE == 2 && DMSAE_MODE_INFER == 3);
ASSERT(DMSAE_DEVICE_CPU == 1 && DMSAE_DTYPE_INT == 0 && DMSAE_DTYPE_UINT == 1 && DMSAE_DTYPE_FLOAT == 2);
ASSERT(DMSAE_DTYPE_BFLOAT == 4);
ASSERT(DMSAE_TENSOR_READ_ONLY == 1 && DMSAE_TENSOR_CONTIGUOUS == 2);
ASSERT(DMSAE_PLUGIN_DETERMINISTIC == 1 && DMSAE_PLUGIN_REENTRANT == 2 && DMSAE_PLUGIN_NEEDS_GRADIENT == 4);

/* May grow at the end. */
ASSERT(sizeof(dmsae_call) == 32 && DMSAE_CALL_SIZE_V0 == 32);
AT(dmsae_call, struct_size, 0);
AT(dmsae_call, reserved, 4);
AT(dmsae_call, flags, 8);
AT(dmsae_call, error, 16);
AT(dmsae_call, error_capacity, 24);

ASSERT(sizeof(dmsae_host_info) == 32 && DMSAE_HOST_INFO_SIZE_V0 == 32);
AT(dmsae_host_info, struct_size, 0);
AT(dmsae_host_info, abi_major, 4);
AT(dmsae_host_info, abi_minor, 8);
AT(dmsae_host_info, reserved, 12);
AT(dmsae_host_info, name, 16);
AT(dmsae_host_info, version, 24);

ASSERT(sizeof(dmsae_host) == 24 && DMSAE_HOST_SIZE_V0 == 24);
AT(dmsae_host, struct_size, 0);
AT(dmsae_host, reserved, 4);
AT(dmsae_host, context, 8);
AT(dmsae_host, get_extension, 16);

ASSERT(sizeof(dmsae_descriptor) == 88 && DMSAE_DESCRIPTOR_SIZE_V0 == 72);
AT(dmsae_descriptor, struct_size, 0);
AT(dmsae_descriptor, kind, 4);
AT(dmsae_descriptor, id, 8);
AT(dmsae_descriptor, name, 16);
AT(dmsae_descriptor, version, 24);
AT(dmsae_descriptor, license, 32);
AT(dmsae_descriptor, description, 40);
AT(dmsae_descriptor, extensions, 48);
AT(dmsae_descriptor, extension_count, 56);
AT(dmsae_descriptor, reserved, 60);
AT(dmsae_descriptor, flags, 64);

ASSERT(sizeof(dmsae_entry) == 56 && DMSAE_ENTRY_SIZE_V0 == 56);
ASSERT(DMSAE_MAGIC == 0x474c504541534d44ull);
AT(dmsae_entry, magic, 0);
AT(dmsae_entry, struct_size, 8);
AT(dmsae_entry, abi_major, 12);
AT(dmsae_entry, abi_minor_min, 16);
AT(dmsae_entry, plugin_count, 20);
AT(dmsae_entry, descriptor, 24);
AT(dmsae_entry, create, 32);
AT(dmsae_entry, destroy, 40);
AT(dmsae_entry, get_extension, 48);

ASSERT(sizeof(dmsae_scorer_batch) == 152 && DMSAE_SCORER_BATCH_SIZE_V0 == 144);
AT(dmsae_scorer_batch, struct_size, 0);
AT(dmsae_scorer_batch, splice_mode, 4);
AT(dmsae_scorer_batch, codes, 8);
AT(dmsae_scorer_batch, decoder, 16);
AT(dmsae_scorer_batch, decoder_bias, 24);
AT(dmsae_scorer_batch, residual, 32);
AT(dmsae_scorer_batch, reconstruction, 40);
AT(dmsae_scorer_batch, gradient, 48);
AT(dmsae_scorer_batch, loss, 56);
AT(dmsae_scorer_batch, tokens, 64);
AT(dmsae_scorer_batch, sequence_offsets, 72);
AT(dmsae_scorer_batch, sequence_count, 80);
AT(dmsae_scorer_batch, scored, 88);
AT(dmsae_scorer_batch, first_token, 96);
AT(dmsae_scorer_batch, core_begin, 104);
AT(dmsae_scorer_batch, core_end, 112);
AT(dmsae_scorer_batch, prefix_widths, 120);
AT(dmsae_scorer_batch, prefix_count, 128);
AT(dmsae_scorer_batch, spliced_width, 136);

ASSERT(sizeof(dmsae_selection_context) == 104 && DMSAE_SELECTION_CONTEXT_SIZE_V0 == 88);
AT(dmsae_selection_context, struct_size, 0);
AT(dmsae_selection_context, mode, 4);
AT(dmsae_selection_context, step, 8);
AT(dmsae_selection_context, total_steps, 16);
AT(dmsae_selection_context, batch_rows, 24);
AT(dmsae_selection_context, first_row, 32);
AT(dmsae_selection_context, latent_count, 40);
AT(dmsae_selection_context, mean_active, 48);
AT(dmsae_selection_context, batch_budget, 56);
AT(dmsae_selection_context, core_begin, 64);
AT(dmsae_selection_context, core_end, 72);
AT(dmsae_selection_context, core_is_exempt, 80);
AT(dmsae_selection_context, reserved, 84);

/* Frozen, sizes included. */
ASSERT(sizeof(dmsae_parameter) == 32);
AT(dmsae_parameter, key, 0);
AT(dmsae_parameter, value, 8);
AT(dmsae_parameter, reserved, 16);

ASSERT(sizeof(dmsae_device) == 8);
AT(dmsae_device, type, 0);
AT(dmsae_device, id, 4);

ASSERT(sizeof(dmsae_dtype) == 4);
AT(dmsae_dtype, code, 0);
AT(dmsae_dtype, bits, 1);
AT(dmsae_dtype, lanes, 2);

/* The first 48 bytes are DLPack's DLTensor. */
ASSERT(sizeof(dmsae_tensor) == 88);
AT(dmsae_tensor, data, 0);
AT(dmsae_tensor, device, 8);
AT(dmsae_tensor, ndim, 16);
AT(dmsae_tensor, dtype, 20);
AT(dmsae_tensor, shape, 24);
AT(dmsae_tensor, strides, 32);
AT(dmsae_tensor, byte_offset, 40);
AT(dmsae_tensor, flags, 48);
AT(dmsae_tensor, sync, 56);
AT(dmsae_tensor, reserved, 64);

ASSERT(sizeof(dmsae_csr) == 64);
AT(dmsae_csr, rows, 0);
AT(dmsae_csr, columns, 8);
AT(dmsae_csr, count, 16);
AT(dmsae_csr, row_offsets, 24);
AT(dmsae_csr, column_indices, 32);
AT(dmsae_csr, values, 40);
AT(dmsae_csr, reserved, 48);

ASSERT(sizeof(dmsae_host_log) == 16);
AT(dmsae_host_log, struct_size, 0);
AT(dmsae_host_log, log, 8);

ASSERT(sizeof(dmsae_host_cancel) == 16);
AT(dmsae_host_cancel, struct_size, 0);
AT(dmsae_host_cancel, is_cancelled, 8);

ASSERT(sizeof(dmsae_scorer_per_token) == 16);
AT(dmsae_scorer_per_token, struct_size, 0);
AT(dmsae_scorer_per_token, score, 8);

ASSERT(sizeof(dmsae_sparsity_rule) == 32);
AT(dmsae_sparsity_rule, struct_size, 0);
AT(dmsae_sparsity_rule, scope, 8);
AT(dmsae_sparsity_rule, upper_count, 16);
AT(dmsae_sparsity_rule, select, 24);

int main(void) { return 0; }
