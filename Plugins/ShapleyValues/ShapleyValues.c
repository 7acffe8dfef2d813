/* Shapley values of latents: what a latent takes off the loss when it joins, averaged over the orders in which all join.
 *
 *     y[j, s] = mean over drawn permutations of L_s(those before j) - L_s(those before j, and j)               nats
 *     shapley[j] = mean over the S sequences of y[j, s]                                                    nats per sequence
 *
 * L_s is the loss of sequence s where the latents that joined keep their activations, at all of its tokens, and the others have
 * 0. Positive: the latent helps. Where two latents do the same thing, removing either costs nothing and each gets half of what
 * both are worth here. For each permutation the y of a sequence add up to L_s(none) - L_s(all), exactly.
 *
 *   within=all      every candidate that x̂ is made of joins
 *   within=prefix   those of the innermost prefix do; the others are there from the start, and get no score
 *
 * A permutation costs a forward for each latent that fires in the sequence, and gives all of them a value (Castro, Gómez, Tejada
 * 2009). draws=n is how many a sequence gets on average: with less than 1, or a budget that asks for less, a sequence gets one
 * with probability π, by the seed and its place in the pass. With e = 1/π of those, x the latent's activation in a sequence and
 * sums over sequences
 *
 *     shapley[j] = (Σx/S) · R,  R = Σ e·y / Σ e·x        standard error  √(n/(n-1) · Σ (R·(x - Σx/S)/S + (Σx/S)·e·(y - R·x)/Σ e·x)²)
 *
 * over n sequences that were drawn, y and e 0 for others: the error that both have, the draws and the text (the sum's terms are
 * what each sequence changes in shapley[j]). With everything drawn it is that of a mean, √(Σ(y - ȳ)²/(n·(n-1))).
 */
#define DMSAE_ABI_MINOR_REQUIRED 1u
#include "dmsae/dmsae.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dmsae_instance {
    const dmsae_host *host;
    const dmsae_host_eval *eval;
    double draws;
    uint64_t seed;
    int within_prefix;
};

/* A state, version 1, all of it doubles: y [m, S], x [m, S], e [m, S]; of what did not join x and e are 0. */
typedef struct { double *y, *x, *e; } shapley_state;

static shapley_state view(const void *state, const dmsae_scoring_plan *plan) {
    double *all = (double *)(uintptr_t)state;
    const int64_t pairs = plan->latent_count * plan->sequence_count;
    return (shapley_state){all, all + pairs, all + 2 * pairs};
}

static uint64_t elements(const dmsae_scoring_plan *plan) {
    return 3 * (uint64_t)plan->latent_count * (uint64_t)plan->sequence_count;
}

static const float *floats(const dmsae_tensor *tensor) {
    return (const float *)((const char *)tensor->data + tensor->byte_offset);
}

static const dmsae_output outputs[] = {
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT, "shapley", "nats per sequence",
     "Mean over sequences of the latent's Shapley value for the loss", DMSAE_OUTPUT_HIGHER_IS_BETTER, -1, -1},
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT, "shapley_standard_error", "nats per sequence",
     "Standard error of shapley from drawing and from the text", 0, 0, -1},
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT_SEQUENCE, "loss_share", "nats",
     "The latent's share of what all latents take off the sequence's loss; NaN where nothing was drawn",
     DMSAE_OUTPUT_HIGHER_IS_BETTER | DMSAE_OUTPUT_TERMS, -1, -1},
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT_SEQUENCE, "expansion", "1",
     "How many like it a drawn sequence stands for; 0 where it was not drawn", DMSAE_OUTPUT_EXPANSION, -1, -1},
    {sizeof(dmsae_output), DMSAE_OUTPUT_LATENT_SEQUENCE, "size", "1", "The latent's activation in the sequence",
     DMSAE_OUTPUT_SIZE, -1, -1}};

static uint32_t output_count(dmsae_instance *self) {
    (void)self;
    return sizeof outputs / sizeof outputs[0];
}

static const dmsae_output *output(dmsae_instance *self, uint32_t index) {
    return index < output_count(self) ? &outputs[index] : NULL;
}

static dmsae_status state_size(dmsae_instance *self, const dmsae_scoring_plan *plan, uint64_t *bytes, dmsae_call *call) {
    (void)self, (void)call;
    *bytes = sizeof(double) * elements(plan);
    return DMSAE_OK;
}

static dmsae_status begin(dmsae_instance *self, const dmsae_scoring_plan *plan, void *state, dmsae_call *call) {
    (void)self, (void)plan, (void)state;
    return DMSAE_MUST_UNDERSTAND(call->flags) ? DMSAE_ERR_UNSUPPORTED : DMSAE_OK;
}

/* The output function of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). */
static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Number `number` of permutation `draw` of a sequence at a place of the pass. */
static uint64_t word(const dmsae_instance *self, int64_t place, int64_t draw, int64_t number) {
    const uint64_t sequence = mix(mix(self->seed + 0x9e3779b97f4a7c15u) + (uint64_t)place + 1);
    return mix(mix(sequence + 0x9e3779b97f4a7c15u * ((uint64_t)draw + 1)) + (uint64_t)number + 1);
}

/* A sequence's players, its entries by player, and room for questions. */
typedef struct {
    int32_t *players;        /* [n] latents that fire, shuffled for each permutation */
    int64_t *begins, *fill;  /* [m + 1] where a latent's entries begin among `tokens`; [m] how far they are written */
    int32_t *tokens;         /* [entries] within the sequence, by latent */
    float *activations;      /* [entries] */
    double *present;         /* [T, d] x̂ with those that joined */
    float *rows;             /* [room, T, d] */
    dmsae_edit *edits;       /* [room] */
    dmsae_edit_group *groups; /* [room] */
    double *losses;          /* [m + 1] above that of x̂, with the first k in place */
    int64_t room;
} workspace;

/* How many of the first latents may join. */
static int64_t players_end(const dmsae_instance *self, const dmsae_scorer_batch *batch) {
    int64_t end = batch->codes->columns;
    if (batch->spliced_width < end) end = batch->spliced_width;
    if (self->within_prefix && batch->prefix_count > 0 && batch->prefix_widths[0] < end) end = batch->prefix_widths[0];
    return end;
}

/* Finds the players of a sequence and where they fire; returns how many there are. */
static int64_t gather(const dmsae_instance *self, const dmsae_scorer_batch *batch, int64_t s, const workspace *work) {
    const dmsae_csr *codes = batch->codes;
    const int64_t first = batch->sequence_offsets[s], end = batch->sequence_offsets[s + 1], last = players_end(self, batch);
    memset(work->begins, 0, sizeof(int64_t) * (size_t)(codes->columns + 1));
    for (int64_t e = codes->row_offsets[first]; e < codes->row_offsets[end]; e++)
        if (codes->column_indices[e] < last) work->begins[codes->column_indices[e] + 1]++;
    int64_t count = 0;
    for (int64_t j = 0; j < last; j++) {
        if (work->begins[j + 1] > 0) work->players[count++] = (int32_t)j;
        work->begins[j + 1] += work->begins[j];
        work->fill[j] = work->begins[j];
    }
    for (int64_t t = first; t < end; t++)
        for (int64_t e = codes->row_offsets[t]; e < codes->row_offsets[t + 1]; e++) {
            if (codes->column_indices[e] >= last) continue;
            const int64_t at = work->fill[codes->column_indices[e]]++;
            work->tokens[at] = (int32_t)(t - first);
            work->activations[at] = codes->values[e];
        }
    return count;
}

/* Adds `sign` times a latent to those that are there. */
static void join(const dmsae_scorer_batch *batch, int32_t latent, double sign, const workspace *work) {
    const int64_t d = batch->decoder->shape[1];
    const float *w = floats(batch->decoder) + latent * d;
    for (int64_t e = work->begins[latent]; e < work->begins[latent + 1]; e++) {
        double *row = work->present + work->tokens[e] * d;
        for (int64_t i = 0; i < d; i++) row[i] += sign * (double)work->activations[e] * (double)w[i];
    }
}

/* Writes the losses above that of x̂ with the first 0, 1, ... n players in place. */
static dmsae_status walk(const dmsae_instance *self, const dmsae_scorer_batch *batch, int64_t s, int64_t n,
                         const workspace *work, dmsae_call *call) {
    const int64_t d = batch->decoder->shape[1];
    const int64_t first = batch->sequence_offsets[s], end = batch->sequence_offsets[s + 1], size = (end - first) * d;
    const float *top = floats(batch->reconstruction) + first * d;
    for (int64_t i = 0; i < size; i++) work->present[i] = (double)top[i];
    for (int64_t k = 0; k < n; k++) join(batch, work->players[k], -1, work);
    for (int64_t done = 0; done < n; done += work->room) {
        const int64_t count = n - done < work->room ? n - done : work->room;
        for (int64_t k = 0; k < count; k++) {
            float *rows = work->rows + k * size;
            for (int64_t i = 0; i < size; i++) rows[i] = (float)work->present[i];
            join(batch, work->players[done + k], 1, work);
            work->edits[k] =
                (dmsae_edit){.first_token = first, .end_token = end, .operation = DMSAE_EDIT_ROWS, .rows = rows};
            work->groups[k] = (dmsae_edit_group){.sequence = s, .first_edit = k, .edit_count = 1};
        }
        const dmsae_status status = self->eval->losses(self->host, batch, work->groups, count, work->edits, count, call);
        if (status != DMSAE_OK) return status;
        for (int64_t k = 0; k < count; k++) work->losses[done + k] = work->groups[k].loss_change;
    }
    work->losses[n] = 0;
    return DMSAE_OK;
}

/* Shuffles the players (Fisher, Yates; Durstenfeld 1964). */
static void shuffle(const dmsae_instance *self, int64_t place, int64_t number, int64_t n, int32_t *players) {
    for (int64_t i = n - 1; i > 0; i--) {
        const int64_t other = (int64_t)(word(self, place, number, i) % (uint64_t)(i + 1));
        const int32_t latent = players[i];
        players[i] = players[other];
        players[other] = latent;
    }
}

static dmsae_status look(const dmsae_instance *self, const dmsae_scoring_plan *plan, const dmsae_scorer_batch *batch, int64_t s,
                         const workspace *work, const shapley_state *state, dmsae_call *call) {
    const int64_t S = plan->sequence_count, place = batch->first_sequence + s;
    const int64_t budget = DMSAE_HAS(plan, dmsae_scoring_plan, evaluation_budget) ? plan->evaluation_budget : INT64_MAX;
    const int64_t n = gather(self, batch, s, work), last = players_end(self, batch);
    /* What fires and does not join has no value. */
    for (int64_t e = batch->codes->row_offsets[batch->sequence_offsets[s]];
         e < batch->codes->row_offsets[batch->sequence_offsets[s + 1]]; e++)
        if (batch->codes->column_indices[e] >= last) state->y[batch->codes->column_indices[e] * S + place] = (double)NAN;
    if (n == 0) return DMSAE_OK;
    for (int64_t k = 0; k < n; k++) {
        const int32_t j = work->players[k];
        for (int64_t e = work->begins[j]; e < work->begins[j + 1]; e++)
            state->x[j * S + place] += (double)work->activations[e];
    }
    double draws = self->draws;
    if (budget != INT64_MAX && (double)budget / (double)S / (double)n < draws) draws = (double)budget / (double)S / (double)n;
    const double chance = (double)(word(self, place, -1, 0) >> 11) * 0x1p-53;
    const int64_t count = (int64_t)floor(draws) + (chance < draws - floor(draws));
    if (count == 0 || self->eval->remaining(self->host) / n < count) return DMSAE_OK;
    for (int64_t number = 0; number < count; number++) {
        shuffle(self, place, number, n, work->players);
        const dmsae_status status = walk(self, batch, s, n, work, call);
        if (status != DMSAE_OK) return status;
        for (int64_t k = 0; k < n; k++)
            state->y[work->players[k] * S + place] += (work->losses[k] - work->losses[k + 1]) / (double)count;
    }
    for (int64_t k = 0; k < n; k++) state->e[work->players[k] * S + place] = 1 / fmin(1, draws);
    return DMSAE_OK;
}

static dmsae_status accumulate(dmsae_instance *self, const dmsae_scoring_plan *plan, const dmsae_scorer_batch *batch,
                               void *memory, dmsae_call *call) {
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    int64_t longest = 0, most = 0;
    for (int64_t s = 0; s < batch->sequence_count; s++) {
        const int64_t first = batch->sequence_offsets[s], end = batch->sequence_offsets[s + 1];
        const int64_t entries = batch->codes->row_offsets[end] - batch->codes->row_offsets[first];
        if (end - first > longest) longest = end - first;
        if (entries > most) most = entries;
    }
    if (most == 0) return DMSAE_OK;
    const size_t m = (size_t)plan->latent_count, size = (size_t)longest * (size_t)plan->dimension, entries = (size_t)most;
    /* As many at once as the host likes, and 64 MiB hold. */
    size_t room = (size_t)self->eval->preferred_groups(self->host);
    if (room > m) room = m;
    if (room > ((size_t)1 << 24) / size) room = ((size_t)1 << 24) / size;
    if (room == 0) room = 1;
    workspace work = {.players = malloc(sizeof(int32_t) * (m + 1)),
                      .begins = malloc(sizeof(int64_t) * (2 * m + 1)),
                      .tokens = malloc(sizeof(int32_t) * entries),
                      .activations = malloc(sizeof(float) * entries),
                      .present = malloc(sizeof(double) * (size + m + 1)),
                      .rows = malloc(sizeof(float) * room * size),
                      .edits = malloc(sizeof(dmsae_edit) * room),
                      .groups = malloc(sizeof(dmsae_edit_group) * room),
                      .room = (int64_t)room};
    dmsae_status status = DMSAE_ERR_OUT_OF_MEMORY;
    if (work.players != NULL && work.begins != NULL && work.tokens != NULL && work.activations != NULL && work.present != NULL &&
        work.rows != NULL && work.edits != NULL && work.groups != NULL) {
        const shapley_state state = view(memory, plan);
        work.fill = work.begins + m + 1;
        work.losses = work.present + size;
        status = DMSAE_OK;
        for (int64_t s = 0; s < batch->sequence_count && status == DMSAE_OK; s++)
            status = look(self, plan, batch, s, &work, &state, call);
    }
    free(work.players);
    free(work.begins);
    free(work.tokens);
    free(work.activations);
    free(work.present);
    free(work.rows);
    free(work.edits);
    free(work.groups);
    return status;
}

/* Every sequence is of one shard, and zero in the others. */
static dmsae_status merge(dmsae_instance *self, const dmsae_scoring_plan *plan, void *state, const void *other,
                          dmsae_call *call) {
    (void)self;
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    double *into = state;
    const double *from = other;
    for (uint64_t i = 0; i < elements(plan); i++) into[i] += from[i];
    return DMSAE_OK;
}

static dmsae_status finish(dmsae_instance *self, const dmsae_scoring_plan *plan, const void *memory,
                           double *const *results, dmsae_call *call) {
    (void)self;
    if (DMSAE_MUST_UNDERSTAND(call->flags)) return DMSAE_ERR_UNSUPPORTED;
    const int64_t m = plan->latent_count, S = plan->sequence_count;
    const shapley_state state = view(memory, plan);
    memcpy(results[3], state.e, sizeof(double) * (size_t)(m * S));
    memcpy(results[4], state.x, sizeof(double) * (size_t)(m * S));
    for (int64_t j = 0; j < m; j++) {
        double x = 0, ex = 0, ey = 0;
        for (int64_t i = j * S; i < (j + 1) * S; i++) {
            x += state.x[i];
            if (state.e[i] > 0) {
                ex += state.e[i] * state.x[i];
                ey += state.e[i] * state.y[i];
            }
            results[2][i] = state.e[i] > 0 || state.x[i] == 0 ? state.y[i] : (double)NAN;
        }
        const double mean = x / (double)S, ratio = ex > 0 ? ey / ex : 0;
        double squares = 0;
        int64_t drawn = 0;
        for (int64_t i = j * S; i < (j + 1) * S; i++) {
            /* A sequence where the latent is silent says that it does nothing there, and costs nothing. */
            const int is_known = state.e[i] > 0 || state.x[i] == 0;
            const double of_draw = state.e[i] > 0 ? mean * state.e[i] * (state.y[i] - ratio * state.x[i]) / ex : 0;
            const double change = ratio * (state.x[i] - mean) / (double)S + of_draw;
            squares += change * change;
            drawn += is_known;
        }
        results[0][j] = ex > 0 ? mean * ratio : (double)NAN;
        results[1][j] = ex > 0 && drawn > 1 ? sqrt((double)drawn / (double)(drawn - 1) * squares) : (double)NAN;
    }
    return DMSAE_OK;
}

static const dmsae_scorer_accumulate scorer = {
    sizeof scorer, 1, output_count, output, state_size, begin, accumulate, merge, finish};

static const char *const players[] = {"all", "prefix"};
static const dmsae_parameter_spec within = {
    sizeof within, DMSAE_PARAMETER_CHOICE, "within", "Which latents join: all candidates, or those of the innermost prefix", "all",
    NULL, 0, 0, players, 2, 0, 0};
static const dmsae_parameter_spec draws = {
    sizeof draws, DMSAE_PARAMETER_NUMBER, "draws", "Permutations of each sequence, on average", "1", "permutations", 0.001, 1e6,
    NULL, 0, 0, 0};
static const dmsae_parameter_spec seed = {
    sizeof seed, DMSAE_PARAMETER_INTEGER, "seed", "Which are drawn", "0", NULL, 0, 9007199254740992.0, NULL, 0, 0, 0};
static const dmsae_parameter_spec *const parameters[] = {&within, &draws, &seed};

static const char *const extensions[] = {DMSAE_SCORER_ACCUMULATE};
static const dmsae_descriptor about = {
    sizeof about, DMSAE_KIND_SCORER, "shapley", "Shapley values", "1.0.0", "Apache-2.0",
    "What a latent takes off the loss when it joins others in a random order",
    extensions, 1, 0, DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_NEEDS_EVALUATION | DMSAE_PLUGIN_SCALE_INVARIANT,
    parameters, 3, 0};

DMSAE_MANIFEST(
    {"manifest": 1, "abi": {"major": 0, "minor_min": 1}, "plugins": [{"description":
     "What a latent takes off the loss when it joins others in a random order", "extensions":
     ["dmsae.scorer.accumulate/1"], "flags": ["deterministic", "needs-evaluation", "scale-invariant"], "id": "shapley",
     "kind": "scorer", "license": "Apache-2.0", "parameters": [{"choices": ["all", "prefix"], "default": "all",
     "description": "Which latents join: all candidates, or those of the innermost prefix", "key": "within", "type":
     "choice"}, {"default": "1", "description": "Permutations of each sequence, on average", "key": "draws", "maximum":
     1000000, "minimum": 0.001, "type": "number", "unit": "permutations"}, {"default": "0", "description":
     "Which are drawn", "key": "seed", "maximum": 9007199254740992, "minimum": 0, "type": "integer"}], "version":
     "1.0.0"}]});

static const dmsae_descriptor *descriptor(const dmsae_entry *entry, uint32_t index) {
    (void)entry;
    return index == 0 ? &about : NULL;
}

static dmsae_status refuse(dmsae_call *call, dmsae_status status, const char *format, const dmsae_parameter *given) {
    if (call->error_capacity > 0) snprintf(call->error, call->error_capacity, format, given->key, given->value);
    return status;
}

/* Reads a setting. */
static dmsae_status set(dmsae_instance *self, const dmsae_parameter *given, dmsae_call *call) {
    char *end = NULL;
    errno = 0;
    if (strcmp(given->key, "within") == 0) {
        self->within_prefix = strcmp(given->value, players[1]) == 0;
        if (self->within_prefix || strcmp(given->value, players[0]) == 0) return DMSAE_OK;
        return refuse(call, DMSAE_ERR_INVALID_ARGUMENT, "%s is '%s'; give all or prefix", given);
    }
    if (strcmp(given->key, "draws") == 0) {
        self->draws = strtod(given->value, &end);
        if (errno == 0 && end != given->value && *end == 0 && self->draws >= 0.001 && self->draws <= 1e6) return DMSAE_OK;
        return refuse(call, DMSAE_ERR_INVALID_ARGUMENT, "%s is '%s'; give a number from 0.001 to 1e6", given);
    }
    if (strcmp(given->key, "seed") == 0) {
        self->seed = strtoull(given->value, &end, 10);
        if (errno == 0 && given->value[0] >= '0' && given->value[0] <= '9' && *end == 0 && self->seed <= 1ull << 53)
            return DMSAE_OK;
        return refuse(call, DMSAE_ERR_INVALID_ARGUMENT, "%s is '%s'; give a whole number from 0 to 2^53", given);
    }
    return refuse(call, DMSAE_ERR_UNKNOWN_PARAMETER, "unknown parameter '%s'; shapley takes within, draws and seed", given);
}

static dmsae_status create(const dmsae_entry *entry, uint32_t index, const dmsae_host *host,
                           const dmsae_parameter *given, uint32_t count, dmsae_instance **out, dmsae_call *call) {
    (void)entry, (void)index;
    struct dmsae_instance made = {.host = host, .eval = host->get_extension(host, DMSAE_EVAL), .draws = 1};
    if (made.eval == NULL) {
        if (call->error_capacity > 0) snprintf(call->error, call->error_capacity, "this host has no %s", DMSAE_EVAL);
        return DMSAE_ERR_UNSUPPORTED;
    }
    for (uint32_t i = 0; i < count; i++) {
        const dmsae_status status = set(&made, &given[i], call);
        if (status != DMSAE_OK) return status;
    }
    dmsae_instance *self = malloc(sizeof *self);
    if (self == NULL) return DMSAE_ERR_OUT_OF_MEMORY;
    *self = made;
    *out = self;
    return DMSAE_OK;
}

static void destroy(dmsae_instance *self) { free(self); }

static const void *get_extension(dmsae_instance *self, const char *id) {
    (void)self;
    return strcmp(id, DMSAE_SCORER_ACCUMULATE) == 0 ? &scorer : NULL;
}

static const dmsae_entry entry = {DMSAE_MAGIC, sizeof entry, DMSAE_ABI_MAJOR, DMSAE_ABI_MINOR_REQUIRED, 1,
                                  descriptor, create, destroy, get_extension};

DMSAE_EXPORT const dmsae_entry *dmsae_plugin_entry(const dmsae_host_info *host) {
    (void)host;
    return &entry;
}
