#define _GNU_SOURCE
#include "linux.h"

#include <dlfcn.h>
#include <elf.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static struct link_map *map_of(void *handle) {
    struct link_map *map = NULL;
    return handle && dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 ? map : NULL;
}

void *dmsae_load(int file, const char *path, const struct dmsae_companion *companions, size_t count, int shares_symbols) {
    char name[32];
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    struct renamed {
        struct link_map *map;
        char *name;
    } *kept = calloc(count + 1, sizeof *kept);
    if (!kept) return NULL;
    // The loader compares a wanted name with l_name, also where the library has no DT_SONAME.
    for (size_t i = 0; i < count; i++) {
        struct link_map *map = map_of(companions[i].handle);
        if (!map) continue;
        kept[i] = (struct renamed){map, map->l_name};
        map->l_name = (char *)companions[i].name;
    }
    void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE | (shares_symbols ? 0 : RTLD_DEEPBIND));
    // Backwards, for a library that goes by two names. No call of the loader in between: it would forget its reason.
    for (size_t i = count; i-- > 0;)
        if (kept[i].map) kept[i].map->l_name = kept[i].name;
    free(kept);
    if (!handle) return NULL;
    struct link_map *map = map_of(handle);
    char *shown = strdup(path);
    if (map && shown) map->l_name = shown;  // For good, as the library is.
    return handle;
}

int dmsae_file_contains(int file, const char *text) {
    struct stat status;
    if (fstat(file, &status) != 0 || status.st_size <= 0) return 0;
    const size_t size = (size_t)status.st_size;
    void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (bytes == MAP_FAILED) return 0;
    const int found = memmem(bytes, size, text, strlen(text) + 1) != NULL;
    munmap(bytes, size);
    return found;
}

int dmsae_malloc_is_replaced(void) {
    Dl_info allocator, libc;
    void *function = dlsym(RTLD_DEFAULT, "malloc");
    return function && dladdr(function, &allocator) && dladdr((void *)gnu_get_libc_version, &libc) &&
           allocator.dli_fbase != libc.dli_fbase;
}

// How many symbols there are: by the hash table of System V, or the last that a chain of the GNU one leads to.
static size_t symbol_count(const uint32_t *sysv, const uint32_t *gnu) {
    if (sysv) return sysv[1];
    if (!gnu) return 0;
    const uint32_t buckets = gnu[0], first = gnu[1], words = gnu[2];
    const uint32_t *bucket = gnu + 4 + 2 * words, *chain = bucket + buckets;
    uint32_t last = 0;
    for (uint32_t i = 0; i < buckets; i++)
        if (bucket[i] > last) last = bucket[i];
    if (last < first) return first;
    while (!(chain[last - first] & 1)) last++;
    return last + 1;
}

const char *dmsae_taken_symbol(void *handle, const char **owner) {
    struct link_map *map = map_of(handle);
    if (!map) return NULL;
    const ElfW(Sym) *symbols = NULL;
    const char *names = NULL;
    const uint32_t *sysv = NULL, *gnu = NULL;
    for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag == DT_SYMTAB) symbols = (const void *)entry->d_un.d_ptr;
        if (entry->d_tag == DT_STRTAB) names = (const void *)entry->d_un.d_ptr;
        if (entry->d_tag == DT_HASH) sysv = (const void *)entry->d_un.d_ptr;
        if (entry->d_tag == DT_GNU_HASH) gnu = (const void *)entry->d_un.d_ptr;
    }
    if (!symbols || !names) return NULL;
    const size_t count = symbol_count(sysv, gnu);
    for (size_t i = 0; i < count; i++) {
        const ElfW(Sym) *symbol = symbols + i;
        const unsigned type = ELF64_ST_TYPE(symbol->st_info), binding = ELF64_ST_BIND(symbol->st_info);
        const char *name = names + symbol->st_name;
        if (symbol->st_shndx == SHN_UNDEF || ELF64_ST_VISIBILITY(symbol->st_other) != STV_DEFAULT) continue;
        if (type != STT_FUNC && type != STT_OBJECT && type != STT_GNU_IFUNC) continue;
        // What C++ makes in every library that needs it is the same in all, and one is meant to do for all.
        if (binding == STB_GNU_UNIQUE || (binding == STB_WEAK && strncmp(name, "_Z", 2) == 0)) continue;
        if (strcmp(name, "_init") == 0 || strcmp(name, "_fini") == 0) continue;
        Dl_info other;
        void *found = dlsym(RTLD_DEFAULT, name);
        if (!found || !dladdr(found, &other) || other.dli_fbase == (void *)map->l_addr) continue;
        *owner = other.dli_fname;
        return name;
    }
    return NULL;
}
