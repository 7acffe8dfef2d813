import CProcessor
import Glibc
import KernelTable
import KernelsBaseline
import KernelsV3
import KernelsV4

@_exported import struct KernelTable.AdamStep
@_exported import struct KernelTable.KernelTable
@_exported import struct KernelTable.LatentEntries

/// An x86-64 micro-architecture level that kernels are compiled for.
public enum ProcessorLevel: Int, Sendable, Comparable, CaseIterable {
    /// SSE2, every x86-64 processor.
    case baseline = 2
    /// AVX2 and FMA.
    case v3 = 3
    /// AVX-512.
    case v4 = 4

    /// Levels compare by what they need.
    public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

    /// What this processor offers.
    public static let available = ProcessorLevel(rawValue: Int(dmsae_processor_level())) ?? .baseline

    /// What is used: `DMSAE_CPU` (2, 3 or 4) if it names a level the processor has, the best one otherwise.
    public static let chosen: ProcessorLevel = {
        guard let text = getenv("DMSAE_CPU"), let number = Int(String(cString: text)),
            let asked = ProcessorLevel(rawValue: number)
        else { return available }
        return min(asked, available)
    }()

    /// This level's kernels; calling one on a processor below the level is an illegal instruction.
    public var kernels: KernelTable {
        switch self {
        case .baseline: KernelsBaseline.table
        case .v3: KernelsV3.table
        case .v4: KernelsV4.table
        }
    }
}

/// The kernels of the chosen level.
public let kernels = ProcessorLevel.chosen.kernels
