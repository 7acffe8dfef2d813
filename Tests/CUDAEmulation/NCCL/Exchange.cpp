// What the backend opens of NCCL. Cards of threads or processes of one machine send each other files in a folder, whose name is
// the id by which they meet.
#include "../Driver/Call.h"

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace emulation;

namespace {
// NCCL's results.
constexpr int cudaError = 1, systemError = 2, invalidArgument = 4, invalidUsage = 5;
constexpr size_t idBytes = 128;
constexpr int floatType = 7;

struct Communicator {
    std::string folder;
    int ranks, rank;
    Card *card;
    /// How many messages went to each rank, and came from it.
    std::vector<uint64_t> sent, received;

    std::string left(int rank) const { return folder + "/left-" + std::to_string(rank); }

    std::string message(int from, int to, uint64_t number) const {
        return folder + "/" + std::to_string(from) + "-" + std::to_string(to) + "-" + std::to_string(number);
    }
};

struct Transfer {
    bool isSend;
    char *data;
    size_t bytes;
    std::string path;
    Stream *stream;
    uint64_t seconds;
    /// Where it stands that the peer has left.
    std::string left;
};

thread_local bool inGroup = false;
thread_local std::vector<Transfer> transfers;

Result write(const Transfer &transfer) {
    std::string partial = transfer.path + ".part";
    int file = open(partial.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (file < 0) return unknown;
    ssize_t written = ::write(file, transfer.data, transfer.bytes);
    close(file);
    return written == ssize_t(transfer.bytes) && rename(partial.c_str(), transfer.path.c_str()) == 0 ? success : unknown;
}

Result read(const Transfer &transfer) {
    for (uint64_t round = 0; access(transfer.path.c_str(), R_OK) != 0; ++round) {
        // What it sent before it left is there by now.
        bool hasLeft = access(transfer.left.c_str(), F_OK) == 0 && access(transfer.path.c_str(), R_OK) != 0;
        if (hasLeft || round > transfer.seconds * 10000) {
            complain("ncclRecv: nobody sent " + transfer.path);
            return unknown;
        }
        usleep(100);
    }
    struct stat status;
    int file = open(transfer.path.c_str(), O_RDONLY);
    if (file < 0 || fstat(file, &status) != 0) return unknown;
    bool good = status.st_size == off_t(transfer.bytes) && ::read(file, transfer.data, transfer.bytes) == status.st_size;
    close(file);
    unlink(transfer.path.c_str());
    if (!good) complain("ncclRecv: " + transfer.path + " has " + std::to_string(status.st_size) + " bytes, not " + std::to_string(transfer.bytes));
    return good ? success : invalidValue;
}

void removeFolder(const std::string &folder) {
    if (DIR *entries = opendir(folder.c_str())) {
        while (dirent *entry = readdir(entries)) unlink((folder + "/" + entry->d_name).c_str());
        closedir(entries);
    }
    rmdir(folder.c_str());
}

/// One side of a transfer; all of a group happen at once, so what is sent goes first.
int transfer(Card &card, bool isSend, void *address, size_t count, int type, int peer, Communicator *communicator, void *handle) {
    if (communicator == nullptr || peer < 0 || peer >= communicator->ranks || peer == communicator->rank || type != floatType)
        return invalidArgument;
    if (communicator->card != &card || !inGroup) return invalidUsage;
    Stream *stream = card.stream(handle);
    char *data = deviceMemory(card, reinterpret_cast<uint64_t>(address), 4 * count);
    if (stream == nullptr || data == nullptr) {
        complain("nccl: " + std::to_string(4 * count) + " bytes that are not in one allocation, or no stream");
        return invalidArgument;
    }
    std::string path = isSend ? communicator->message(communicator->rank, peer, communicator->sent[peer]++)
                              : communicator->message(peer, communicator->rank, communicator->received[peer]++);
    transfers.push_back({isSend, data, 4 * count, path, stream, card.settings.wait, communicator->left(peer)});
    return 0;
}

}  // namespace

/// First line of an entry point that needs a card.
#define ENTER_NCCL \
    Call call(currentCard(), __func__, unknown, false); \
    if (call.result != success) return cudaError; \
    Card &card = *call.card; \
    (void)card

ENTRY int ncclGetVersion(int *version) {
    *version = 22300;
    return 0;
}

ENTRY const char *ncclGetErrorString(int code) {
    switch (code) {
    case 0: return "no error";
    case cudaError: return "unhandled cuda error";
    case systemError: return "unhandled system error";
    case invalidArgument: return "invalid argument";
    case invalidUsage: return "invalid usage";
    default: return "unknown result code";
    }
}

ENTRY int ncclGetUniqueId(void *id) {
    char folder[idBytes] = {};
    const char *temporary = getenv("TMPDIR");
    int length = snprintf(folder, sizeof folder, "%s/emulated-nccl-XXXXXX", temporary ? temporary : "/tmp");
    if (length >= int(sizeof folder) || mkdtemp(folder) == nullptr) return systemError;
    memcpy(id, folder, sizeof folder);
    // Of a job that never came to its end.
    static std::vector<std::string> made;
    static std::mutex lock;
    std::lock_guard guard(lock);
    if (made.empty()) atexit([] { for (const std::string &one : made) removeFolder(one); });
    made.push_back(folder);
    return 0;
}

ENTRY int ncclCommInitRankScalable(void **made, int ranks, int rank, int ids, void *id, void *config) {
    ENTER_NCCL;
    if (made == nullptr || ids != 1 || config != nullptr || rank < 0 || rank >= ranks) return invalidArgument;
    std::string folder(static_cast<const char *>(id));
    if (access(folder.c_str(), W_OK) != 0) return systemError;
    *made = new Communicator{folder, ranks, rank, &card, std::vector<uint64_t>(ranks), std::vector<uint64_t>(ranks)};
    return 0;
}

ENTRY int ncclCommDestroy(Communicator *communicator) {
    ENTER_NCCL;
    card.finishAll();
    int file = open(communicator->left(communicator->rank).c_str(), O_WRONLY | O_CREAT, 0600);
    if (file >= 0) close(file);
    // The real one waits for the others, too, whose processes read its memory.
    for (int rank = 0; rank < communicator->ranks; ++rank) {
        for (uint64_t round = 0; access(communicator->left(rank).c_str(), F_OK) != 0; ++round) {
            if (access(communicator->folder.c_str(), F_OK) != 0) break;  // they have all left
            if (round > card.settings.wait * 10000) {
                complain("ncclCommDestroy: rank " + std::to_string(rank) + " has not left");
                return systemError;
            }
            usleep(100);
        }
    }
    if (communicator->rank == 0) removeFolder(communicator->folder);
    delete communicator;
    return 0;
}

ENTRY int ncclGroupStart() {
    if (inGroup) return invalidUsage;
    inGroup = true;
    return 0;
}

ENTRY int ncclSend(void *source, size_t count, int type, int peer, Communicator *communicator, void *stream) {
    ENTER_NCCL;
    return transfer(card, true, source, count, type, peer, communicator, stream);
}

ENTRY int ncclRecv(void *target, size_t count, int type, int peer, Communicator *communicator, void *stream) {
    ENTER_NCCL;
    return transfer(card, false, target, count, type, peer, communicator, stream);
}

ENTRY int ncclGroupEnd() {
    ENTER_NCCL;
    if (!inGroup) return invalidUsage;
    inGroup = false;
    std::vector<Transfer> all;
    all.swap(transfers);
    if (all.empty()) return 0;
    Stream *stream = all[0].stream;
    Result result = card.issue(*stream, [all] {
        for (bool isSend : {true, false}) {
            for (const Transfer &one : all) {
                if (one.isSend != isSend) continue;
                if (Result failed = isSend ? write(one) : read(one)) return failed;
            }
        }
        return success;
    });
    return result == success ? 0 : cudaError;
}
