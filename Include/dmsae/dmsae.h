/* dmsae.h: the C ABI between dmsae and its plugins. Include this file; it includes the others.
 *
 * A plugin is one shared object that exports one function. This is a whole scorer
 * (Plugins/Template/scorer.c; a test keeps the two the same):
 *
 *   #include <string.h>
 *   #include "dmsae/dmsae.h"
 *
 *   static struct dmsae_instance { int unused; } only;
 *
 *   static dmsae_status score(dmsae_instance *self, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
 *       if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
 *       for (int64_t e = 0; e < batch->codes->count; e++) scores[e] = batch->codes->values[e];
 *       return DMSAE_OK;
 *   }
 *   static const dmsae_scorer_per_token table = {sizeof table, 0, score};
 *   static const char *const ids[] = {DMSAE_SCORER_PER_TOKEN};
 *   static const dmsae_descriptor about = {
 *       sizeof about, DMSAE_KIND_SCORER, "activation", "Activation", "1.0.0", "Apache-2.0", "The activation itself",
 *       ids, 1, 0, DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_REENTRANT, 0, 0, 0};
 *
 *   static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t i) { return i == 0 ? &about : 0; }
 *   static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
 *                              const dmsae_parameter *set, uint32_t count, dmsae_instance **out, dmsae_call *call) {
 *       *out = &only;
 *       if (count == 0) return DMSAE_OK;
 *       if (call->error_capacity > 0) strncat(call->error, set[0].key, call->error_capacity - 1);
 *       return DMSAE_ERR_UNKNOWN_PARAMETER;
 *   }
 *   static void destroy(dmsae_instance *self) {}
 *   static const void *get_extension(dmsae_instance *self, const char *id) {
 *       return strcmp(id, DMSAE_SCORER_PER_TOKEN) == 0 ? &table : 0;
 *   }
 *   static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1,
 *                                     descriptor, create, destroy, get_extension};
 *   const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) { return &entry; }
 *
 * Built by   cc -O2 -shared -fPIC -I Include scorer.c -o scorer.so
 * and used by naming the path of scorer.so where a scorer's name is asked for.
 *
 * These headers are the specification; what they do not say is not promised. Where to read:
 *   version.h        the versions of the program and of the ABI
 *   types.h          versions, growth rules, status codes, the call header, threads
 *   tensor.h         borrowed views of dense and sparse arrays
 *   entry.h          the exported function, the plugin's description, create and destroy
 *   parameters.h     the settings a plugin takes, described
 *   manifest.h       what a file says about itself without being run
 *   host.h           what a plugin may ask of the host: log, cancel
 *   evaluation.h     what a scorer may ask of the host: losses of edited reconstructions, gradients elsewhere, the head
 *   scorer.h         kind "scorer": how much each active latent matters to the next-token loss
 *   sparsity_rule.h  kind "sparsity rule": which positive pre-activations a batch keeps
 *
 * Rationale: what was left out, until a plugin needs it. Live parameters: a scorer's settings hold for a pass, and a run
 * record names them. Host services for memory, threads, BLAS, clocks and progress: a plugin has its own, and the host sees progress in
 * the questions that are asked (evaluation.h). A stamp that says when borrowed memory ends: it ends with the call, always.
 *
 * Changes, one line a minor version:
 *   0.0   first version: scorer (per token), sparsity rule, log, cancel.
 *   0.1   scorers that accumulate, named outputs, states; losses and gradients on request (evaluation.h); described
 *         parameters; manifest; sparsity rules with learnable tensors, surrogate gradients, penalty, calibration,
 *         inference form, rescaling.
 *   0.2   mean activations of the whole pass on request (evaluation.h); the pass's budget in dmsae_scoring_plan; outputs
 *         that say what the score is the mean of, and how it was drawn (DMSAE-OUTPUT-03).
 *   0.3   an entry that refuses says why; batches with encoder, thresholds, documents, norms of x, the model's own
 *         probabilities and the hook point, where a flag asks for what costs; groups and calibrated thresholds for rules;
 *         scorers that look more than once, in order, from one state; outputs [m, m] and [m, N]; states of other builds of a plugin; requirements and sanitizer in manifests; DLPack's
 *         flags as of its 1.2; losses, divergences, logit differences and directions, gradients of them under RelP's rules,
 *         and the rows of the head, on request (evaluation.h).
 */
#ifndef DMSAE_DMSAE_H
#define DMSAE_DMSAE_H

#include "types.h"
#include "tensor.h"
#include "parameters.h"
#include "manifest.h"
#include "host.h"
#include "entry.h"
#include "scorer.h"
#include "evaluation.h"
#include "sparsity_rule.h"

#endif
