// Loads and stores with a word about caches, which nobody has here.
#pragma once

#define EMULATION_LOAD(name) \
    template <typename Value> \
    Value name(const Value *place) { return *place; }
#define EMULATION_STORE(name) \
    template <typename Value> \
    void name(Value *place, std::type_identity_t<Value> value) { *place = value; }

EMULATION_LOAD(__ldg)
EMULATION_LOAD(__ldca)
EMULATION_LOAD(__ldcg)
EMULATION_LOAD(__ldcs)
EMULATION_LOAD(__ldcv)
EMULATION_LOAD(__ldlu)
EMULATION_STORE(__stwb)
EMULATION_STORE(__stcg)
EMULATION_STORE(__stcs)
EMULATION_STORE(__stwt)
