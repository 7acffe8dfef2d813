// cuBLASLt, as far as it is used: products of matrices of float32 or bfloat16 with sums in float32.
#include "../Driver/Call.h"
#include "Product.h"

#include <cmath>

using namespace emulation;

namespace {

enum Status : int {
    fine = 0, noLibrary = 1, allocationFailed = 3, badValue = 7, executionFailed = 13, unsupported = 15,
};

struct Description {
    int compute, scale, pointerMode = 0, transposeA = 0, transposeB = 0, transposeC = 0, epilogue = 1;
};

struct Layout {
    int type, order = 0, batches = 1;
    uint64_t rows, columns;
    int64_t leading, stride = 0;
};

struct Preference {
    uint64_t workspace = 0;
};

/// Handles of one kind. Known ones only are looked into.
template <typename Object>
class Handles {
public:
    void *add(Object object) {
        std::lock_guard guard(lock);
        auto made = std::make_unique<Object>(object);
        void *handle = made.get();
        all[handle] = std::move(made);
        return handle;
    }
    bool remove(const void *handle) {
        std::lock_guard guard(lock);
        return all.erase(handle) == 1;
    }
    Object *find(const void *handle) {
        std::lock_guard guard(lock);
        auto found = all.find(handle);
        return found == all.end() ? nullptr : found->second.get();
    }

private:
    std::mutex lock;
    std::map<const void *, std::unique_ptr<Object>> all;
};

struct Library {};
Handles<Library> libraries;
Handles<Description> descriptions;
Handles<Layout> layouts;
Handles<Preference> preferences;

template <typename Field>
int set(Field &field, const void *buffer, size_t bytes) {
    if (buffer == nullptr || bytes != sizeof field) return badValue;
    memcpy(&field, buffer, sizeof field);
    return fine;
}

bool isNumber(int type) { return type == int(Number::float32) || type == int(Number::bfloat16); }

/// What one call multiplies, once its descriptions agree.
struct Shape {
    size_t rows, columns, inner;
    const Layout *a, *b, *c, *d;
    const Description *description;
};

int shape(const void *description, const void *a, const void *b, const void *c, const void *d, Shape &shape) {
    shape.description = descriptions.find(description);
    shape.a = layouts.find(a), shape.b = layouts.find(b), shape.c = layouts.find(c), shape.d = layouts.find(d);
    if (!shape.description || !shape.a || !shape.b || !shape.c || !shape.d) return badValue;
    const Description &operation = *shape.description;
    for (const Layout *layout : {shape.a, shape.b, shape.c, shape.d}) {
        if (layout->rows == 0 || layout->columns == 0 || layout->leading < int64_t(layout->rows) || layout->batches < 1) return badValue;
        if (layout->order != 0 || !isNumber(layout->type)) return unsupported;
        if (layout->batches != shape.d->batches) return badValue;
    }
    if (operation.transposeA > 1 || operation.transposeB > 1 || operation.transposeC != 0 || operation.epilogue != 1 ||
        operation.pointerMode != 0 || operation.scale != int(Number::float32))
        return unsupported;
    constexpr int float32 = 68, fastTF32 = 77;
    if (operation.compute != float32 && operation.compute != fastTF32) return unsupported;
    bool bothSame = shape.a->type == shape.b->type && shape.c->type == shape.d->type;
    bool narrowResult = shape.d->type == int(Number::bfloat16);
    if (!bothSame || (narrowResult && shape.a->type != shape.d->type)) return unsupported;
    if (operation.compute == fastTF32 && shape.a->type != int(Number::float32)) return unsupported;

    shape.rows = operation.transposeA ? shape.a->columns : shape.a->rows;
    shape.inner = operation.transposeA ? shape.a->rows : shape.a->columns;
    shape.columns = operation.transposeB ? shape.b->rows : shape.b->columns;
    size_t innerOfB = operation.transposeB ? shape.b->columns : shape.b->rows;
    bool agree = innerOfB == shape.inner && shape.d->rows == shape.rows && shape.d->columns == shape.columns &&
        shape.c->rows == shape.rows && shape.c->columns == shape.columns;
    return agree ? fine : badValue;
}

/// Host address of all batches of a matrix; nullptr, with a complaint, if one of them leaves its allocation.
char *matrix(Card &card, const void *address, const Layout &layout, const char *name) {
    size_t size = bytes(Number(layout.type));
    size_t extent = (layout.columns - 1) * size_t(layout.leading) + layout.rows;
    if (layout.batches > 1 && layout.stride < 0) return nullptr;
    extent += size_t(layout.batches - 1) * size_t(layout.stride);
    char *data = deviceMemory(card, reinterpret_cast<uint64_t>(address), extent * size);
    if (data && reinterpret_cast<uint64_t>(data) % size == 0) return data;
    complain("cublasLtMatmul: matrix " + std::string(name) + ", " + std::to_string(layout.rows) + " x " +
        std::to_string(layout.columns) + ", is not in one allocation of the card");
    return nullptr;
}

}  // namespace

ENTRY int cublasLtCreate(void **handle) {
    if (handle == nullptr) return badValue;
    Call call(currentCard(), __func__, unknown, false);
    if (call.result == invalidContext || call.result == notInitialized) return noLibrary;
    if (call.result != success) return allocationFailed;
    *handle = libraries.add({});
    return fine;
}

ENTRY int cublasLtDestroy(void *handle) { return libraries.remove(handle) ? fine : badValue; }

ENTRY size_t cublasLtGetVersion(void) { return 130100; }

ENTRY int cublasLtMatmulDescCreate(void **handle, int compute, int scale) {
    if (handle == nullptr) return badValue;
    *handle = descriptions.add({compute, scale});
    return fine;
}

ENTRY int cublasLtMatmulDescDestroy(void *handle) { return descriptions.remove(handle) ? fine : badValue; }

ENTRY int cublasLtMatmulDescSetAttribute(void *handle, int attribute, const void *buffer, size_t bytes) {
    Description *description = descriptions.find(handle);
    if (description == nullptr) return badValue;
    switch (attribute) {
    case 0: return set(description->compute, buffer, bytes);
    case 1: return set(description->scale, buffer, bytes);
    case 2: return set(description->pointerMode, buffer, bytes);
    case 3: return set(description->transposeA, buffer, bytes);
    case 4: return set(description->transposeB, buffer, bytes);
    case 5: return set(description->transposeC, buffer, bytes);
    case 7: return set(description->epilogue, buffer, bytes);
    default: return badValue;
    }
}

ENTRY int cublasLtMatrixLayoutCreate(void **handle, int type, uint64_t rows, uint64_t columns, int64_t leading) {
    if (handle == nullptr) return badValue;
    Layout layout{};
    layout.type = type;
    layout.batches = 1;
    layout.rows = rows;
    layout.columns = columns;
    layout.leading = leading;
    *handle = layouts.add(layout);
    return fine;
}

ENTRY int cublasLtMatrixLayoutDestroy(void *handle) { return layouts.remove(handle) ? fine : badValue; }

ENTRY int cublasLtMatrixLayoutSetAttribute(void *handle, int attribute, const void *buffer, size_t bytes) {
    Layout *layout = layouts.find(handle);
    if (layout == nullptr) return badValue;
    switch (attribute) {
    case 0: return set(layout->type, buffer, bytes);
    case 1: return set(layout->order, buffer, bytes);
    case 2: return set(layout->rows, buffer, bytes);
    case 3: return set(layout->columns, buffer, bytes);
    case 4: return set(layout->leading, buffer, bytes);
    case 5: return set(layout->batches, buffer, bytes);
    case 6: return set(layout->stride, buffer, bytes);
    default: return badValue;
    }
}

ENTRY int cublasLtMatmulPreferenceCreate(void **handle) {
    if (handle == nullptr) return badValue;
    *handle = preferences.add({});
    return fine;
}

ENTRY int cublasLtMatmulPreferenceDestroy(void *handle) { return preferences.remove(handle) ? fine : badValue; }

ENTRY int cublasLtMatmulPreferenceSetAttribute(void *handle, int attribute, const void *buffer, size_t bytes) {
    Preference *preference = preferences.find(handle);
    if (preference == nullptr) return badValue;
    constexpr int maxWorkspaceBytes = 1;
    if (attribute == maxWorkspaceBytes) return set(preference->workspace, buffer, bytes);
    return buffer && bytes <= 8 ? fine : badValue;
}

ENTRY int cublasLtMatmulAlgoGetHeuristic(
    void *handle, void *description, void *a, void *b, void *c, void *d, void *preference, int requested, void *results,
    int *returned) {
    struct Heuristic {
        uint64_t algorithm[8];
        size_t workspace;
        int state;
        float waves;
        int reserved[4];
    };
    if (!libraries.find(handle) || !preferences.find(preference) || requested < 1 || !results || !returned) return badValue;
    *returned = 0;
    Shape wanted;
    int status = shape(description, a, b, c, d, wanted);
    if (status != fine) return status;
    Heuristic answer{};
    answer.algorithm[0] = 1;
    // Some of what was offered, so that a caller who hands over less is noticed.
    answer.workspace = std::min<uint64_t>(preferences.find(preference)->workspace, 1024);
    answer.waves = 1;
    memcpy(results, &answer, sizeof answer);
    *returned = 1;
    return fine;
}

ENTRY int cublasLtMatmul(
    void *handle, void *description, const void *alpha, const void *a, void *layoutA, const void *b, void *layoutB,
    const void *beta, const void *c, void *layoutC, void *d, void *layoutD, const void *algorithm, void *workspace,
    size_t workspaceBytes, void *streamHandle) {
    Call call(currentCard(), __func__, launchFailed, true);
    if (call.card == nullptr) return noLibrary;
    if (call.result != success) return executionFailed;
    Card &card = *call.card;
    Shape product;
    if (!libraries.find(handle) || alpha == nullptr || beta == nullptr) return badValue;
    int status = shape(description, layoutA, layoutB, layoutC, layoutD, product);
    if (status != fine) return status;
    Stream *stream = card.stream(streamHandle);
    if (stream == nullptr) return badValue;
    if (workspaceBytes > 0 && !deviceMemory(card, reinterpret_cast<uint64_t>(workspace), workspaceBytes)) {
        complain("cublasLtMatmul: its workspace is not in one allocation of the card");
        return badValue;
    }
    (void)algorithm;

    float scale, keep;
    memcpy(&scale, alpha, 4);
    memcpy(&keep, beta, 4);
    const char *dataA = matrix(card, a, *product.a, "A"), *dataB = matrix(card, b, *product.b, "B");
    char *dataD = matrix(card, d, *product.d, "D"), *dataC = keep == 0 ? dataD : matrix(card, c, *product.c, "C");
    if (!dataA || !dataB || !dataC || !dataD) return badValue;
    bool tf32 = product.description->compute == 77;
    bool transposeA = product.description->transposeA == 1, transposeB = product.description->transposeB == 1;
    Layout la = *product.a, lb = *product.b, lc = *product.c, ld = *product.d;
    size_t rows = product.rows, columns = product.columns, inner = product.inner;
    Result result = card.issue(*stream, [=] {
        auto offset = [](const Layout &layout, size_t batch) {
            return batch * size_t(layout.stride) * bytes(Number(layout.type));
        };
        for (size_t batch = 0; batch < size_t(ld.batches); ++batch) {
            multiply(
                rows, columns, inner, scale, {dataA + offset(la, batch), Number(la.type), transposeA, size_t(la.leading)},
                {dataB + offset(lb, batch), Number(lb.type), transposeB, size_t(lb.leading)}, keep,
                {dataC + offset(lc, batch), Number(lc.type), size_t(lc.leading)},
                {dataD + offset(ld, batch), Number(ld.type), size_t(ld.leading)}, tf32);
        }
        return success;
    });
    return result == success ? fine : executionFailed;
}

ENTRY const char *cublasLtGetStatusString(int status) {
    switch (status) {
    case fine: return "CUBLAS_STATUS_SUCCESS";
    case noLibrary: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case allocationFailed: return "CUBLAS_STATUS_ALLOC_FAILED";
    case badValue: return "CUBLAS_STATUS_INVALID_VALUE";
    case executionFailed: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case unsupported: return "CUBLAS_STATUS_NOT_SUPPORTED";
    default: return "unknown status";
    }
}
