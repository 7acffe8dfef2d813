// Which kernels there are, and how a launch's list of addresses becomes a call.
#pragma once

#include <cstring>
#include <functional>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

namespace emulation {

/// An address as the host knows it turned into one that a kernel may use; false if nothing is there.
using Translate = std::function<bool(const void *&address)>;

/// Reads one argument. Pointers are translated, so a structure must not hold any: the card's addresses mean nothing here.
template <typename Value>
bool read(Value &value, const void *place, const Translate &translate) {
    memcpy(&value, place, sizeof value);
    if constexpr (std::is_pointer_v<Value>) {
        const void *address = reinterpret_cast<const void *>(value);
        if (!translate(address)) return false;
        value = reinterpret_cast<Value>(const_cast<void *>(address));
    } else {
        static_assert(std::is_trivially_copyable_v<Value>, "an argument is a plain value");
    }
    return true;
}

struct Kernel {
    const char *name;
    char *sharedStart, *sharedEnd;
    /// The kernel with its arguments; empty, with the argument's number in `bad`, if one is a pointer to nothing.
    std::function<void()> (*bind)(void **arguments, const Translate &translate, unsigned &bad);
};

template <auto kernel, typename... Parameters>
std::function<void()> bindTo(void (*)(Parameters...), void **arguments, const Translate &translate, unsigned &bad) {
    std::tuple<std::remove_const_t<Parameters>...> values;
    unsigned index = 0;
    bool good = true;
    std::apply(
        [&](auto &...value) {
            ((good = good && read(value, arguments[index], translate), index += good ? 1 : 0), ...);
        },
        values);
    bad = index;
    if (!good) return {};
    return [values] { std::apply(kernel, values); };
}

template <auto kernel>
std::function<void()> bind(void **arguments, const Translate &translate, unsigned &bad) {
    return bindTo<kernel>(kernel, arguments, translate, bad);
}

/// All kernels, by the files that were compiled in.
std::vector<Kernel> &kernels();

struct KernelFile {
    KernelFile(std::initializer_list<Kernel> list, char *sharedStart, char *sharedEnd) {
        for (Kernel kernel : list) {
            kernel.sharedStart = sharedStart;
            kernel.sharedEnd = sharedEnd;
            kernels().push_back(kernel);
        }
    }
};

}  // namespace emulation

/// Ends a file of `Kernels/`: KERNELS(KERNEL(a), KERNEL(b)).
#define KERNEL(name) ::emulation::Kernel{#name, nullptr, nullptr, ::emulation::bind<&name>}
#define KERNELS_JOIN2(a, b) a##b
#define KERNELS_JOIN(a, b) KERNELS_JOIN2(a, b)
#define KERNELS(...) \
    extern "C" __attribute__((weak, visibility("hidden"))) char KERNELS_JOIN(__start_emulated_shared_, KERNEL_FILE)[]; \
    extern "C" __attribute__((weak, visibility("hidden"))) char KERNELS_JOIN(__stop_emulated_shared_, KERNEL_FILE)[]; \
    static const ::emulation::KernelFile kernelFile( \
        {__VA_ARGS__}, KERNELS_JOIN(__start_emulated_shared_, KERNEL_FILE), KERNELS_JOIN(__stop_emulated_shared_, KERNEL_FILE))
