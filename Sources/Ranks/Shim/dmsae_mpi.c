/* What dmsae asks of MPI, for libraries that do not have the standard ABI (MPI 5.0): Open MPI before 6, MPICH before 5. `make mpi`
 * compiles it with the site's mpicc; the environment variable DMSAE_MPI names the result.
 *
 * Each function is that of MPI's with a prefix, on the standard ABI's integers in the place of handles, which every library has
 * otherwise: of communicators MPI_COMM_WORLD alone, of types MPI_BYTE, of error handlers MPI_ERRORS_RETURN. All are called from the
 * thread that calls dmsae_MPI_Init_thread. */
#include <mpi.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { world = 0x101, byte_type = 0x247, errors_return = 0x143, funneled = 1024 };

/* Nobody else's number is asked for: a number that is not known here is another version's. */
static void require(uintptr_t number, uintptr_t known) {
    if (number != known) abort();
}

int dmsae_MPI_Abi_get_version(int *major, int *minor) {
    *major = *minor = -1; /* none */
    return MPI_SUCCESS;
}

int dmsae_MPI_Init_thread(int *argc, char ***argv, int required, int *provided) {
    require(required, funneled);
    return MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, provided);
}

int dmsae_MPI_Finalize(void) { return MPI_Finalize(); }

int dmsae_MPI_Abort(uintptr_t communicator, int code) {
    require(communicator, world);
    return MPI_Abort(MPI_COMM_WORLD, code);
}

int dmsae_MPI_Comm_rank(uintptr_t communicator, int *rank) {
    require(communicator, world);
    return MPI_Comm_rank(MPI_COMM_WORLD, rank);
}

int dmsae_MPI_Comm_size(uintptr_t communicator, int *size) {
    require(communicator, world);
    return MPI_Comm_size(MPI_COMM_WORLD, size);
}

int dmsae_MPI_Comm_set_errhandler(uintptr_t communicator, uintptr_t handler) {
    require(communicator, world);
    require(handler, errors_return);
    return MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
}

/* A request is a pointer or an int, and goes into the caller's word. */
_Static_assert(sizeof(MPI_Request) <= sizeof(uintptr_t), "requests do not fit");

int dmsae_MPI_Isend(const void *bytes, int count, uintptr_t type, int target, int tag, uintptr_t communicator,
                    uintptr_t *request) {
    require(communicator, world);
    require(type, byte_type);
    MPI_Request own;
    int code = MPI_Isend(bytes, count, MPI_BYTE, target, tag, MPI_COMM_WORLD, &own);
    *request = 0;
    memcpy(request, &own, sizeof own);
    return code;
}

int dmsae_MPI_Irecv(void *bytes, int count, uintptr_t type, int source, int tag, uintptr_t communicator,
                    uintptr_t *request) {
    require(communicator, world);
    require(type, byte_type);
    MPI_Request own;
    int code = MPI_Irecv(bytes, count, MPI_BYTE, source, tag, MPI_COMM_WORLD, &own);
    *request = 0;
    memcpy(request, &own, sizeof own);
    return code;
}

/* The status is not asked for. */
int dmsae_MPI_Test(uintptr_t *request, int *done, void *status) {
    MPI_Request own;
    memcpy(&own, request, sizeof own);
    int code = MPI_Test(&own, done, MPI_STATUS_IGNORE);
    memcpy(request, &own, sizeof own);
    (void)status;
    return code;
}

/* As much room as the standard ABI has. */
enum { longest_error = 512, longest_version = 8192 };

int dmsae_MPI_Error_string(int code, char *text, int *length) {
    char own[MPI_MAX_ERROR_STRING + 1];
    int result = MPI_Error_string(code, own, length);
    if (*length >= longest_error) *length = longest_error - 1;
    memcpy(text, own, *length);
    text[*length] = 0;
    return result;
}

int dmsae_MPI_Get_library_version(char *text, int *length) {
    char own[MPI_MAX_LIBRARY_VERSION_STRING + 1];
    int result = MPI_Get_library_version(own, length);
    if (*length >= longest_version) *length = longest_version - 1;
    memcpy(text, own, *length);
    text[*length] = 0;
    return result;
}
