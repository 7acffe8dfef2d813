import CProcessor
import Glibc
import KernelTable
import KernelsBaseline
import KernelsV3
import KernelsV4

@_exported import enum KernelTable.Activation
@_exported import enum KernelTable.NumberFormat
@_exported import struct KernelTable.AdamStep
@_exported import struct KernelTable.KernelTable
@_exported import struct KernelTable.LatentEntries

/// An x86-64 micro-architecture level that kernels are compiled for.
public enum ProcessorLevel: Int, Sendable, Comparable, CaseIterable {
    /// SSE2, every x86-64 processor.
    case baseline = 2
    /// AVX2 and FMA.
    case v3 = 3
    /// AVX-512 (F, BW, CD, DQ, VL).
    case v4 = 4

    /// Levels compare by what they need.
    public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }

    /// Whether this processor has x86-64-v2 (SSE4.2), for which there are no kernels of its own.
    public static let hasSecond = dmsae_processor_has_second_level() != 0

    /// What this processor offers.
    public static let available = ProcessorLevel(rawValue: Int(dmsae_processor_level())) ?? .baseline

    /// What is used: the level that `DMSAE_CPU` names, the best one otherwise; the program has asked `requested` first.
    public static let chosen: ProcessorLevel = {
        do { return try requested() } catch {
            // Whoever did not ask, a test or a benchmark, must not run other kernels than it was told
            // to without a word.
            let text = "Error: \(error)\n"
            _ = write(STDERR_FILENO, text, text.utf8.count)
            exit(EX_USAGE)
        }
    }()

    /// The level that `DMSAE_CPU` (2, 3 or 4) names, or else what the processor offers.
    ///
    /// - Throws: `Unavailable` for anything else, and for a level that this processor has not.
    public static func requested() throws(Unavailable) -> ProcessorLevel {
        guard let text = getenv("DMSAE_CPU").map({ String(cString: $0) }) else { return available }
        guard let level = Int(text).flatMap(ProcessorLevel.init(rawValue:)), level <= available else {
            throw Unavailable(value: text)
        }
        return level
    }

    /// A value of `DMSAE_CPU` that is no level of this processor.
    public struct Unavailable: Error, CustomStringConvertible, Equatable {
        /// As it is set.
        public let value: String

        /// One sentence for the user.
        public var description: String {
            let levels = ProcessorLevel.allCases.filter { $0 <= available }.map { "\($0.rawValue)" }
            return
                "the environment variable DMSAE_CPU is \"\(value)\"; it must be an x86-64 level that this processor has "
                + "(\(levels.joined(separator: ", "))), or unset"
        }
    }

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
