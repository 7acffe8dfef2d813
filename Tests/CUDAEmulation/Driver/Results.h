// The driver's results that occur here, by CUDA's numbers.
#pragma once

namespace emulation {

enum Result : int {
    success = 0,
    invalidValue = 1,
    outOfMemory = 2,
    notInitialized = 3,
    noDevice = 100,
    invalidDevice = 101,
    invalidImage = 200,
    invalidContext = 201,
    noBinaryForGPU = 209,
    invalidHandle = 400,
    notFound = 500,
    notReady = 600,
    illegalAddress = 700,
    launchFailed = 719,
    unknown = 999,
};

}  // namespace emulation

/// The library hides all but CUDA's own names.
#define ENTRY extern "C" __attribute__((visibility("default")))
