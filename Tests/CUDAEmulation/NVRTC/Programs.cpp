// The compiler at run time: it takes any text, since the kernels are compiled into this library already, unless the text asks
// to be refused.
#include "../Driver/Call.h"
#include "Image.h"

#include <cstdlib>

using namespace emulation;

namespace {

enum : int { done = 0, invalidInput = 3, invalidProgram = 4, invalidOption = 5, compilation = 6, internalError = 11 };

struct Program {
    std::string text, name, log, image;
};

std::mutex lock;
std::map<const void *, std::unique_ptr<Program>> programs;

Program *program(const void *handle) {
    auto found = programs.find(handle);
    return found == programs.end() ? nullptr : found->second.get();
}

/// The compiler knows no card; a failure is asked for with the current one, or else the first.
bool asked(const char *entry) {
    Card *counted = currentCard() ? currentCard() : card(0);
    return counted && Call(counted, entry, unknown, false).result == unknown;
}

constexpr const char *refusal = "#error dmsae-emulation";

int compile(Program &program, int count, const char *const *options) {
    int architecture = 0;
    for (int index = 0; index < count; ++index) {
        int number = 0;
        if (sscanf(options[index], "--gpu-architecture=sm_%d", &number) == 1 || sscanf(options[index], "-arch=sm_%d", &number) == 1)
            architecture = number;
        if (options[index][0] != '-') {
            program.log = std::string("nvrtc: error: unrecognized option ") + options[index] + " found";
            return invalidOption;
        }
    }
    if (architecture == 0) {
        program.log = "nvrtc: error: without --gpu-architecture=sm_… there is no cubin";
        return invalidOption;
    }
    size_t at = program.text.find(refusal);
    if (at != std::string::npos) {
        long line = 1;
        for (size_t index = 0; index < at; ++index) line += program.text[index] == '\n';
        program.log = program.name + "(" + std::to_string(line) + "): error: #error directive: dmsae-emulation\n\n" +
            "1 error detected in the compilation of \"" + program.name + "\".\n";
        return compilation;
    }
    program.log.clear();
    program.image = makeImage(architecture, program.text);
    return done;
}

}  // namespace

ENTRY int nvrtcVersion(int *major, int *minor) {
    if (major == nullptr || minor == nullptr) return invalidInput;
    *major = 13;
    *minor = 99;  // no cache takes what it gives for a real cubin
    return done;
}

ENTRY int nvrtcCreateProgram(
    void **handle, const char *text, const char *name, int headerCount, const char *const *headers,
    const char *const *includeNames) {
    if (handle == nullptr || text == nullptr || headerCount < 0 || (headerCount > 0 && (!headers || !includeNames)))
        return invalidInput;
    if (asked(__func__)) return internalError;
    std::lock_guard guard(lock);
    auto made = std::make_unique<Program>(Program{text, name ? name : "default_program", "", ""});
    for (int index = 0; index < headerCount; ++index) made->text += std::string("\n") + headers[index];
    *handle = made.get();
    programs[*handle] = std::move(made);
    return done;
}

ENTRY int nvrtcCompileProgram(void *handle, int count, const char *const *options) {
    if (asked(__func__)) return internalError;
    std::lock_guard guard(lock);
    Program *compiled = program(handle);
    if (compiled == nullptr) return invalidProgram;
    if (count < 0 || (count > 0 && options == nullptr)) return invalidInput;
    return compile(*compiled, count, options);
}

ENTRY int nvrtcGetProgramLogSize(void *handle, size_t *size) {
    std::lock_guard guard(lock);
    Program *asked = program(handle);
    if (asked == nullptr) return invalidProgram;
    if (size == nullptr) return invalidInput;
    *size = asked->log.size() + 1;
    return done;
}

ENTRY int nvrtcGetProgramLog(void *handle, char *log) {
    std::lock_guard guard(lock);
    Program *asked = program(handle);
    if (asked == nullptr) return invalidProgram;
    if (log == nullptr) return invalidInput;
    memcpy(log, asked->log.c_str(), asked->log.size() + 1);
    return done;
}

ENTRY int nvrtcGetCUBINSize(void *handle, size_t *size) {
    std::lock_guard guard(lock);
    Program *asked = program(handle);
    if (asked == nullptr || asked->image.empty()) return invalidProgram;
    if (size == nullptr) return invalidInput;
    *size = asked->image.size();
    return done;
}

ENTRY int nvrtcGetCUBIN(void *handle, char *image) {
    std::lock_guard guard(lock);
    Program *asked = program(handle);
    if (asked == nullptr || asked->image.empty()) return invalidProgram;
    if (image == nullptr) return invalidInput;
    memcpy(image, asked->image.data(), asked->image.size());
    return done;
}

ENTRY int nvrtcDestroyProgram(void **handle) {
    std::lock_guard guard(lock);
    if (handle == nullptr || programs.erase(*handle) == 0) return invalidProgram;
    *handle = nullptr;
    return done;
}

ENTRY const char *nvrtcGetErrorString(int result) {
    switch (result) {
    case done: return "NVRTC_SUCCESS";
    case invalidInput: return "NVRTC_ERROR_INVALID_INPUT";
    case invalidProgram: return "NVRTC_ERROR_INVALID_PROGRAM";
    case invalidOption: return "NVRTC_ERROR_INVALID_OPTION";
    case compilation: return "NVRTC_ERROR_COMPILATION";
    case internalError: return "NVRTC_ERROR_INTERNAL_ERROR";
    default: return "NVRTC_ERROR unknown";
    }
}
