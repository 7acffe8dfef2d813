/* Uses every type of the headers, so that its debug information describes the whole ABI: see .ci/abi. */
#include "dmsae/dmsae.h"

#define USE(type) \
    void use_##type(const type *value); \
    void use_##type(const type *value) { (void)value; }

USE(dmsae_status) USE(dmsae_kind) USE(dmsae_log_level) USE(dmsae_splice_mode) USE(dmsae_selection_scope)
USE(dmsae_selection_mode) USE(dmsae_parameter_type) USE(dmsae_output_shape) USE(dmsae_edit_operation)
USE(dmsae_inference_form) USE(dmsae_call) USE(dmsae_parameter) USE(dmsae_parameter_spec) USE(dmsae_device)
USE(dmsae_dtype) USE(dmsae_tensor) USE(dmsae_csr) USE(dmsae_host_info) USE(dmsae_host) USE(dmsae_host_log)
USE(dmsae_host_cancel) USE(dmsae_host_eval) USE(dmsae_host_grad) USE(dmsae_edit) USE(dmsae_edit_group)
USE(dmsae_gradient_point) USE(dmsae_gradient_path) USE(dmsae_descriptor) USE(dmsae_entry) USE(dmsae_scorer_batch)
USE(dmsae_scorer_per_token) USE(dmsae_scoring_plan) USE(dmsae_output) USE(dmsae_scorer_accumulate)
USE(dmsae_selection_context) USE(dmsae_sparsity_rule) USE(dmsae_learnable) USE(dmsae_sparsity_rule_learned)
USE(dmsae_sparsity_rule_inference) USE(dmsae_host_means) USE(dmsae_hook) USE(dmsae_state)
USE(dmsae_metric_kind) USE(dmsae_metric) USE(dmsae_backward_rule) USE(dmsae_host_eval_2) USE(dmsae_host_grad_2)
USE(dmsae_host_head) USE(dmsae_scorer_passes)

const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return 0;
}
