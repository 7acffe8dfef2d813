/* The layout of every public struct as of version 0.3. A released line is never changed: a later minor version adds
 * lines for its new fields and changes the sizes of structs that may grow, and nothing else. */
#include "dmsae/dmsae.h"

#define HOLDS_(line) dmsae_layout_##line
#define HOLDS(line) HOLDS_(line)
/* An array of negative size does not compile. C99 has no static assertion. */
#define ASSERT(condition) extern char HOLDS(__LINE__)[(condition) ? 1 : -1]
#define AT(type, field, offset) ASSERT(offsetof(type, field) == (offset))

ASSERT(sizeof(void *) == 8);
ASSERT(DMSAE_ABI_MAJOR == 0 && DMSAE_ABI_MINOR == 3 && DMSAE_ABI_MINOR_REQUIRED == 0);

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
ASSERT(sizeof(dmsae_call) == 40 && DMSAE_CALL_SIZE_V0 == 32);
AT(dmsae_call, struct_size, 0);
AT(dmsae_call, reserved, 4);
AT(dmsae_call, flags, 8);
AT(dmsae_call, error, 16);
AT(dmsae_call, error_capacity, 24);

ASSERT(sizeof(dmsae_host_info) == 48 && DMSAE_HOST_INFO_SIZE_V0 == 32);
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

ASSERT(sizeof(dmsae_scorer_batch) == 232 && DMSAE_SCORER_BATCH_SIZE_V0 == 144);
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

ASSERT(sizeof(dmsae_selection_context) == 128 && DMSAE_SELECTION_CONTEXT_SIZE_V0 == 88);
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

/* Since 0.1. */
ASSERT(sizeof(dmsae_parameter_type) == 4 && sizeof(dmsae_output_shape) == 4);
ASSERT(sizeof(dmsae_edit_operation) == 4 && sizeof(dmsae_inference_form) == 4);
ASSERT(DMSAE_BUDGET_EXHAUSTED == 2);
ASSERT(DMSAE_PLUGIN_NEEDS_EVALUATION == 8 && DMSAE_PLUGIN_MERGE_EXACT == 16 && DMSAE_PLUGIN_SCALE_INVARIANT == 32);
ASSERT(DMSAE_PARAMETER_BOOL == 1 && DMSAE_PARAMETER_INTEGER == 2 && DMSAE_PARAMETER_NUMBER == 3);
ASSERT(DMSAE_PARAMETER_CHOICE == 4 && DMSAE_PARAMETER_TEXT == 5 && DMSAE_PARAMETER_PATH == 6);
ASSERT(DMSAE_OUTPUT_LATENT == 1 && DMSAE_OUTPUT_LATENT_SEQUENCE == 2);
ASSERT(DMSAE_EDIT_SCALE == 1 && DMSAE_EDIT_SET == 2 && DMSAE_EDIT_ROWS == 3);
ASSERT(DMSAE_INFERENCE_THRESHOLDS == 1 && DMSAE_INFERENCE_ROW_TOP_K == 2);

ASSERT(sizeof(dmsae_parameter_spec) == 80);
AT(dmsae_parameter_spec, struct_size, 0);
AT(dmsae_parameter_spec, type, 4);
AT(dmsae_parameter_spec, key, 8);
AT(dmsae_parameter_spec, description, 16);
AT(dmsae_parameter_spec, default_value, 24);
AT(dmsae_parameter_spec, unit, 32);
AT(dmsae_parameter_spec, minimum, 40);
AT(dmsae_parameter_spec, maximum, 48);
AT(dmsae_parameter_spec, choices, 56);
AT(dmsae_parameter_spec, choice_count, 64);
AT(dmsae_parameter_spec, reserved, 68);
AT(dmsae_parameter_spec, flags, 72);

ASSERT(sizeof(dmsae_host_eval) == 32);
AT(dmsae_host_eval, struct_size, 0);
AT(dmsae_host_eval, reserved, 4);
AT(dmsae_host_eval, losses, 8);
AT(dmsae_host_eval, preferred_groups, 16);
AT(dmsae_host_eval, remaining, 24);

ASSERT(sizeof(dmsae_host_grad) == 24);
AT(dmsae_host_grad, struct_size, 0);
AT(dmsae_host_grad, reserved, 4);
AT(dmsae_host_grad, at, 8);
AT(dmsae_host_grad, along, 16);

ASSERT(sizeof(dmsae_edit) == 48);
AT(dmsae_edit, first_token, 0);
AT(dmsae_edit, end_token, 8);
AT(dmsae_edit, latent, 16);
AT(dmsae_edit, operation, 20);
AT(dmsae_edit, value, 24);
AT(dmsae_edit, reserved, 28);
AT(dmsae_edit, rows, 32);
AT(dmsae_edit, reserved2, 40);

ASSERT(sizeof(dmsae_edit_group) == 56);
AT(dmsae_edit_group, sequence, 0);
AT(dmsae_edit_group, first_edit, 8);
AT(dmsae_edit_group, edit_count, 16);
AT(dmsae_edit_group, losses, 24);
AT(dmsae_edit_group, loss_change, 32);
AT(dmsae_edit_group, reserved, 40);

ASSERT(sizeof(dmsae_gradient_point) == 48);
AT(dmsae_gradient_point, sequence, 0);
AT(dmsae_gradient_point, rows, 8);
AT(dmsae_gradient_point, gradient, 16);
AT(dmsae_gradient_point, loss, 24);
AT(dmsae_gradient_point, reserved, 32);

ASSERT(sizeof(dmsae_gradient_path) == 48);
AT(dmsae_gradient_path, sequence, 0);
AT(dmsae_gradient_path, base, 8);
AT(dmsae_gradient_path, end, 16);
AT(dmsae_gradient_path, gradient, 24);
AT(dmsae_gradient_path, reserved, 32);

ASSERT(sizeof(dmsae_scoring_plan) == 80 && DMSAE_SCORING_PLAN_SIZE_V1 == 56);
AT(dmsae_scoring_plan, struct_size, 0);
AT(dmsae_scoring_plan, splice_mode, 4);
AT(dmsae_scoring_plan, latent_count, 8);
AT(dmsae_scoring_plan, dimension, 16);
AT(dmsae_scoring_plan, sequence_count, 24);
AT(dmsae_scoring_plan, token_count, 32);
AT(dmsae_scoring_plan, core_begin, 40);
AT(dmsae_scoring_plan, core_end, 48);

ASSERT(sizeof(dmsae_output) == 48);
AT(dmsae_output, struct_size, 0);
AT(dmsae_output, shape, 4);
AT(dmsae_output, name, 8);
AT(dmsae_output, unit, 16);
AT(dmsae_output, description, 24);
AT(dmsae_output, flags, 32);
AT(dmsae_output, standard_error_of, 40);
AT(dmsae_output, count_of, 44);

ASSERT(sizeof(dmsae_scorer_accumulate) == 64);
AT(dmsae_scorer_accumulate, struct_size, 0);
AT(dmsae_scorer_accumulate, state_version, 4);
AT(dmsae_scorer_accumulate, output_count, 8);
AT(dmsae_scorer_accumulate, output, 16);
AT(dmsae_scorer_accumulate, state_size, 24);
AT(dmsae_scorer_accumulate, begin, 32);
AT(dmsae_scorer_accumulate, accumulate, 40);
AT(dmsae_scorer_accumulate, merge, 48);
AT(dmsae_scorer_accumulate, finish, 56);

ASSERT(sizeof(dmsae_learnable) == 56);
AT(dmsae_learnable, struct_size, 0);
AT(dmsae_learnable, reserved, 4);
AT(dmsae_learnable, name, 8);
AT(dmsae_learnable, description, 16);
AT(dmsae_learnable, initial, 24);
AT(dmsae_learnable, minimum, 32);
AT(dmsae_learnable, maximum, 40);
AT(dmsae_learnable, learning_rate_multiple, 48);

ASSERT(sizeof(dmsae_sparsity_rule_learned) == 48);
AT(dmsae_sparsity_rule_learned, struct_size, 0);
AT(dmsae_sparsity_rule_learned, reserved, 4);
AT(dmsae_sparsity_rule_learned, learnable_count, 8);
AT(dmsae_sparsity_rule_learned, learnable, 16);
AT(dmsae_sparsity_rule_learned, floors, 24);
AT(dmsae_sparsity_rule_learned, backward, 32);
AT(dmsae_sparsity_rule_learned, rescale, 40);

ASSERT(sizeof(dmsae_sparsity_rule_inference) == 40);
AT(dmsae_sparsity_rule_inference, struct_size, 0);
AT(dmsae_sparsity_rule_inference, state_version, 4);
AT(dmsae_sparsity_rule_inference, state_size, 8);
AT(dmsae_sparsity_rule_inference, calibrate, 16);
AT(dmsae_sparsity_rule_inference, merge, 24);
AT(dmsae_sparsity_rule_inference, form, 32);

AT(dmsae_descriptor, parameters, 72);
AT(dmsae_descriptor, parameter_count, 80);
AT(dmsae_descriptor, reserved2, 84);

AT(dmsae_scorer_batch, first_sequence, 144);

AT(dmsae_selection_context, learnables, 88);
AT(dmsae_selection_context, learnable_count, 96);
AT(dmsae_selection_context, reserved2, 100);

/* Since 0.2. */
ASSERT(DMSAE_OUTPUT_TERMS == 2 && DMSAE_OUTPUT_EXPANSION == 4 && DMSAE_OUTPUT_SIZE == 8);

AT(dmsae_scoring_plan, evaluation_budget, 56);

ASSERT(sizeof(dmsae_host_means) == 16);
AT(dmsae_host_means, struct_size, 0);
AT(dmsae_host_means, reserved, 4);
AT(dmsae_host_means, activations, 8);

/* Since 0.3. */
ASSERT(DMSAE_PLUGIN_NEEDS_ENCODER == 0x40 && DMSAE_PLUGIN_NEEDS_TARGET_PROBABILITIES == 0x80);
ASSERT(sizeof(dmsae_hook) == 4 && DMSAE_HOOK_RESID_PRE == 1 && DMSAE_HOOK_ATTN_OUT == 2);
ASSERT(DMSAE_HOOK_MLP_OUT == 3 && DMSAE_HOOK_RESID_POST == 4);
ASSERT(DMSAE_BATCH_SUBTRACTS_DECODER_BIAS == 1);
ASSERT(DMSAE_OUTPUT_LATENT == 1 && DMSAE_OUTPUT_LATENT_SEQUENCE == 2);
ASSERT(DMSAE_OUTPUT_LATENT_PAIR == 3 && DMSAE_OUTPUT_LATENT_TOKEN == 4);

AT(dmsae_call, stream, 32);

AT(dmsae_host_info, error, 32);
AT(dmsae_host_info, error_capacity, 40);

AT(dmsae_scorer_batch, encoder, 152);
AT(dmsae_scorer_batch, encoder_bias, 160);
AT(dmsae_scorer_batch, thresholds, 168);
AT(dmsae_scorer_batch, top_k, 176);
AT(dmsae_scorer_batch, target_probabilities, 184);
AT(dmsae_scorer_batch, residual_norms, 192);
AT(dmsae_scorer_batch, document_offsets, 200);
AT(dmsae_scorer_batch, document_count, 208);
AT(dmsae_scorer_batch, flags, 216);
AT(dmsae_scorer_batch, layer, 224);
AT(dmsae_scorer_batch, hook, 228);

AT(dmsae_selection_context, prefix_widths, 104);
AT(dmsae_selection_context, prefix_count, 112);
AT(dmsae_selection_context, thresholds, 120);

ASSERT(sizeof(dmsae_state) == 16);
AT(dmsae_state, struct_size, 0);
AT(dmsae_state, reserved, 4);
AT(dmsae_state, accepts, 8);

ASSERT(sizeof(dmsae_metric_kind) == 4 && DMSAE_METRIC_LOSS == 1 && DMSAE_METRIC_DIVERGENCE == 2);
ASSERT(DMSAE_METRIC_LOGIT_DIFFERENCE == 3 && DMSAE_METRIC_DIRECTION == 4);
ASSERT(sizeof(dmsae_backward_rule) == 4 && DMSAE_BACKWARD_PLAIN == 1 && DMSAE_BACKWARD_RELP == 2);
ASSERT(DMSAE_BACKWARD_RELP_PATTERN == 3 && DMSAE_BACKWARD_ATTENTION_ONLY == 4);

ASSERT(sizeof(dmsae_metric) == 40 && DMSAE_METRIC_SIZE_V3 == 40);
AT(dmsae_metric, struct_size, 0);
AT(dmsae_metric, kind, 4);
AT(dmsae_metric, weights, 8);
AT(dmsae_metric, token_a, 16);
AT(dmsae_metric, token_b, 20);
AT(dmsae_metric, direction, 24);
AT(dmsae_metric, layer, 32);
AT(dmsae_metric, reserved, 36);

ASSERT(sizeof(dmsae_host_eval_2) == 16);
AT(dmsae_host_eval_2, values, 8);
ASSERT(sizeof(dmsae_host_grad_2) == 24);
AT(dmsae_host_grad_2, at, 8);
AT(dmsae_host_grad_2, along, 16);
ASSERT(sizeof(dmsae_host_head) == 24);
AT(dmsae_host_head, rows, 8);
AT(dmsae_host_head, scales, 16);

ASSERT(DMSAE_PLUGIN_SEQUENTIAL == 0x100 && DMSAE_PARAMETER_LIST == 4);
AT(dmsae_scoring_plan, pass_count, 64);
AT(dmsae_scoring_plan, pass, 72);
ASSERT(sizeof(dmsae_scorer_passes) == 16);
AT(dmsae_scorer_passes, pass_count, 8);
