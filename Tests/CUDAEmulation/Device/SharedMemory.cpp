#include "SharedMemory.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

namespace emulation {

void *freshDynamicShared(size_t bytes) {
    static constexpr size_t page = 4096, whole = (largestDynamicShared + page - 1) / page * page;
    static char *memory = nullptr;
    if (memory == nullptr) {
        void *mapped = mmap(nullptr, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapped == MAP_FAILED || mprotect(static_cast<char *>(mapped) + whole, page, PROT_NONE) != 0) {
            fprintf(stderr, "emulated GPU: no memory for shared memory\n");
            abort();
        }
        memory = static_cast<char *>(mapped);
    }
    char *start = memory + whole - (bytes + 15) / 16 * 16;
    memset(start, 0xFF, bytes);
    return start;
}

}  // namespace emulation
