#include "foreign_call.h"

#include <ffi.h>

#define MOST_ARGUMENTS 64

int dmsae_foreign_call(void *function, size_t count, const char *types, void **values, char returns, int32_t *result) {
    if (count > MOST_ARGUMENTS) return -1;
    ffi_type *kinds[MOST_ARGUMENTS];
    for (size_t i = 0; i < count; i++)
        kinds[i] = types[i] == 'p'   ? &ffi_type_pointer
                   : types[i] == 'd' ? &ffi_type_double
                   : types[i] == 'i' ? &ffi_type_sint32
                                     : &ffi_type_sint64;
    ffi_cif interface;
    ffi_type *kind = returns == 'i' ? &ffi_type_sint32 : &ffi_type_void;
    if (ffi_prep_cif(&interface, FFI_DEFAULT_ABI, (unsigned)count, kind, kinds) != FFI_OK) return -1;
    ffi_arg returned = 0; /* libffi widens results that are narrower than a register */
    ffi_call(&interface, FFI_FN(function), &returned, values);
    if (returns == 'i') *result = (int32_t)returned;
    return 0;
}
