// Names and descriptions of results.
#include "Results.h"

using namespace emulation;

namespace {
struct Description {
    int result;
    const char *name, *text;
};
constexpr Description descriptions[] = {
    {success, "CUDA_SUCCESS", "no error"},
    {invalidValue, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {outOfMemory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {notInitialized, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {noDevice, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {invalidDevice, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {invalidImage, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {invalidContext, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {noBinaryForGPU, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {invalidHandle, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {notFound, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {notReady, "CUDA_ERROR_NOT_READY", "device not ready"},
    {illegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {launchFailed, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {unknown, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

const Description *description(int result) {
    for (const Description &candidate : descriptions)
        if (candidate.result == result) return &candidate;
    return nullptr;
}
}  // namespace

ENTRY int cuGetErrorName(int result, const char **name) {
    if (name == nullptr) return invalidValue;
    const Description *found = description(result);
    *name = found ? found->name : nullptr;
    return found ? success : invalidValue;
}

ENTRY int cuGetErrorString(int result, const char **text) {
    if (text == nullptr) return invalidValue;
    const Description *found = description(result);
    *text = found ? found->text : nullptr;
    return found ? success : invalidValue;
}
