import Glibc
import KernelTable

/// This module's kernels. Made when asked for: a global of so many fields would be initialised by weak code.
public var table: KernelTable {
    KernelTable(
        dot: dot, sumInDouble: sumInDouble, addScaled: addScaled, addScaled4: addScaled4, combine: combine,
        scale: scale, maximum: maximum,
        addRowsByLatent: addRowsByLatent, sumRowsByLatent: sumRowsByLatent,
        sumRowsByLatentWithProducts: sumRowsByLatentWithProducts, compactAbove: compactAbove,
        keepAtLeast: keepAtLeast, countAtLeast: countAtLeast, extent: extent, gatherWithin: gatherWithin,
        countMarked: countMarked,
        exponentialSum: exponentialSum, activate: activate, activateBackward: activateBackward, softCap: softCap,
        adam: adam, normalize: normalize, normalizeBackward: normalizeBackward, rotate: rotate, transpose: transpose,
        expand: expand)
}
