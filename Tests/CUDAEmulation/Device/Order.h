// Orders that a card may choose and a correct kernel does not notice.
#pragma once

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace emulation {

/// A small generator (SplitMix64); seed 0 stands for no permutation at all.
struct Random {
    bool seeded;
    uint64_t state;
    explicit Random(uint64_t seed) : seeded(seed != 0), state(seed) {}

    uint64_t next() {
        uint64_t mixed = state += 0x9E3779B97F4A7C15;
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9;
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB;
        return mixed ^ mixed >> 31;
    }

    void shuffle(std::vector<unsigned> &list) {
        for (size_t index = list.size(); index > 1; --index) std::swap(list[index - 1], list[next() % index]);
    }
};

/// A permutation of all blocks that takes no memory: i ↦ a·i + b with a and the number of blocks coprime.
class BlockOrder {
public:
    BlockOrder(uint64_t count, Random &random) : count(count) {
        if (!random.seeded || count < 2) return;
        offset = random.next() % count;
        do factor = random.next() % count;
        while (std::gcd(factor, count) != 1);
    }
    uint64_t operator[](uint64_t index) const { return uint64_t((unsigned __int128)factor * index % count + offset) % count; }

private:
    uint64_t count, factor = 1, offset = 0;
};

}  // namespace emulation
