// Modules: what the emulated NVRTC calls a cubin is the text that it was given, after a line that says for which card.
#include "Call.h"

#include "../NVRTC/Image.h"

using namespace emulation;

std::vector<Kernel> &emulation::kernels() {
    static auto *list = new std::vector<Kernel>;
    return *list;
}

ENTRY int cuModuleLoadData(void **handle, const void *image) {
    ENTER(noBinaryForGPU, false);
    if (handle == nullptr || image == nullptr) return invalidValue;
    int architecture = 0;
    std::string text;
    if (!readImage(static_cast<const char *>(image), architecture, text)) return invalidImage;
    // A cubin runs on cards of its own generation, from its own minor number on.
    if (architecture / 10 != card.settings.major || architecture % 10 > card.settings.minor) return noBinaryForGPU;
    auto module = std::make_unique<Module>();
    module->text = text;
    *handle = module.get();
    card.modules[*handle] = std::move(module);
    return success;
}

ENTRY int cuModuleUnload(void *handle) {
    ENTER(unknown, false);
    auto found = card.modules.find(handle);
    if (found == card.modules.end()) return invalidHandle;
    Result result = card.finishAll();
    for (auto &function : found->second->functions) card.functions.erase(function.get());
    card.modules.erase(found);
    return result;
}

ENTRY int cuModuleGetFunction(void **handle, void *moduleHandle, const char *name) {
    ENTER(unknown, false);
    if (handle == nullptr || name == nullptr) return invalidValue;
    auto found = card.modules.find(moduleHandle);
    if (found == card.modules.end()) return invalidHandle;
    if (!defines(found->second->text, name)) return notFound;
    for (const Kernel &kernel : kernels()) {
        if (std::string(kernel.name) != name) continue;
        auto &functions = found->second->functions;
        functions.push_back(std::make_unique<Function>(Function{&kernel}));
        *handle = functions.back().get();
        card.functions.insert(*handle);
        return success;
    }
    complain(std::string("kernel ") + name + " is in no file of Tests/CUDAEmulation/Kernels");
    return notFound;
}

ENTRY int cuFuncSetAttribute(void *handle, int attribute, int value) {
    ENTER(unknown, false);
    if (!card.functions.count(handle)) return invalidHandle;
    constexpr int maxDynamicSharedBytes = 8, preferredCarveout = 9;
    if (attribute == preferredCarveout) return success;
    int most = card.settings.major == 8 ? 163 << 10 : 227 << 10;
    if (attribute != maxDynamicSharedBytes || value < 0 || value > most) return invalidValue;
    static_cast<Function *>(handle)->dynamicShared = size_t(value);
    return success;
}
