#pragma once

#include "Card.h"

namespace emulation {

/// While it lives, a fault says in which kernel and thread it happened and near which allocation, before it ends the
/// process as it would have.
class FaultReport {
public:
    FaultReport(Card &card, const char *kernel);
    ~FaultReport();
};

}  // namespace emulation
