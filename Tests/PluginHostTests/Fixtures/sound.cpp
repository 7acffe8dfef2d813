// A scorer in C++ as Plugins/README.md says to build one: the standard library's templates, and a guard around what throws.
#include "dmsae/single_scorer.h"

#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

static dmsae_status guarded(dmsae_call *call, const std::function<void()> &body) {
    try {
        body();
        return DMSAE_OK;
    } catch (const std::exception &error) {
        if (call->error_capacity > 0) strncat(call->error, error.what(), call->error_capacity - 1);
    } catch (...) {
    }
    return DMSAE_ERR_FAILED;
}

static dmsae_status score(dmsae_instance *, const dmsae_scorer_batch *batch, float *scores, dmsae_call *call) {
    return guarded(call, [&] {
        std::map<std::string, std::vector<double>> activations;
        std::ostringstream text;
        for (int64_t e = 0; e < batch->codes->count; e++) {
            const auto name = std::to_string(batch->codes->column_indices[e]) + std::to_string(0.5);
            activations[name].push_back(batch->codes->values[e]);
            auto last = std::make_shared<double>(activations.at(name).back());
            text << *last;
            scores[e] = static_cast<float>(*last);
        }
        if (text.str().empty() && batch->codes->count > 0) throw std::runtime_error("no text");
    });
}
DMSAE_SINGLE_SCORER("sound", "1.0.0", "MIT", "The activation", DMSAE_PLUGIN_DETERMINISTIC | DMSAE_PLUGIN_REENTRANT, score)
