import Foundation
import LinearAlgebra
import TestSupport
import Testing

/// Memory is asked for by formula before it is taken.
@Suite struct MemoryNeedTests {
    @Test func aNeedSaysWhatForHowMuchAndWhatToLower() throws {
        var need = MemoryNeed("training needs", advice: "lower --width")
        need.add("parameters", 3 << 30)
        need.add("batches", 1 << 29, 1)
        try need.check(MemoryLimit(available: 7 << 29, reason: "there is enough"))
        let limit = MemoryLimit(available: 7 << 29 - 1, reason: "this machine has less left")
        #expect(throws: ResourceError.memory(need, limit: limit)) { try need.check(limit) }
        #expect(
            "\(ResourceError.memory(need, limit: limit))"
                == "training needs 3.5 GiB (parameters 3 GiB, batches 512 MiB), and this machine has less left; lower --width"
        )
    }

    @Test func productsAndSumsThatOverflowAreMoreThanThereIs() {
        var need = MemoryNeed("it needs", advice: "ask for less")
        need.add("a", 1 << 62, 4)
        need.add("b", .max)
        #expect(need.bytes == .max)
        #expect("\(need)" == "it needs more bytes than can be counted")
        #expect(throws: ResourceError.self) { try need.check() }
    }

    @Test func aMatrixThatCannotBeHadEndsTheProgramWithAMessage() async throws {
        let result = try await #require(processExitsWith: .exitCode(1), observing: [\.standardErrorContent]) {
            _ = Matrix(rows: 1 << 30, columns: 1 << 20)
        }
        let said = String(decoding: result.standardErrorContent, as: UTF8.self)
        #expect(said.contains("Error: a matrix of 1073741824 × 1048576 needs 4 PiB, and "), "\(said)")
        #expect(said.contains("; ask for less, or give this process more memory\n"), "\(said)")
    }

    @Test func theLimitOfThisProcessIsBelowItsMachines() {
        let limit = MemoryLimit.current
        #expect(limit.available > 0 && limit.available < 1 << 50)
        #expect(limit.reason.contains("left") || limit.reason.contains("may take"))
    }

    @Test func sizesAreSaidInUnitsOfPeople() {
        #expect(memoryText(0) == "0 bytes")
        #expect(memoryText(1023) == "1023 bytes")
        #expect(memoryText(1536) == "1.5 KiB")
        #expect(memoryText(300 << 20) == "300 MiB")
        #expect(memoryText(154 << 30) == "154 GiB")
        #expect(memoryText(.max) == "more bytes than can be counted")
    }
}

/// Limits of containers and batch systems, from trees of files as the kernel shows them.
@Suite struct ControlGroupTests {
    private let folder = TemporaryFolder()

    private func write(_ files: [String: String]) throws {
        for (path, text) in files {
            let whole = folder.file(path)
            try FileManager.default.createDirectory(
                atPath: (whole as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
            try text.write(toFile: whole, atomically: true, encoding: .utf8)
        }
    }

    private func group(_ membership: String) -> ControlGroup {
        ControlGroup(mount: folder.file(""), membership: membership)
    }

    @Test func ofVersion2EveryGroupAboveHasASay() throws {
        try write([
            "a/memory.max": "1000000\n", "a/memory.current": "600000\n",
            "a/memory.stat": "anon 5\ninactive_file 100000\n", "a/b/memory.max": "max\n", "a/b/memory.current": "1\n",
            "a/cpu.max": "150000 100000\n", "a/b/cpu.max": "max 100000\n",
        ])
        let group = group("0::/a/b\n")
        #expect(group.memory().map(\.available) == [500_000])
        #expect(group.memory().first?.reason.contains("of the 977 KiB that its control group has") == true)
        #expect(group.processors() == 1.5)
    }

    @Test func ofVersion1TheHierarchyIsTheControllers() throws {
        try write([
            "memory/job/memory.limit_in_bytes": "2000\n", "memory/job/memory.usage_in_bytes": "500\n",
            "memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/memory.usage_in_bytes": "1\n",
            "cpu,cpuacct/job/cpu.cfs_quota_us": "50000\n", "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            "cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        ])
        let group = group("5:memory:/job\n3:cpu,cpuacct:/job\n0::/\n")
        #expect(group.memory().map(\.available) == [1500])
        #expect(group.processors() == 0.5)
    }

    @Test func whereNothingIsMountedThereIsNoLimit() {
        #expect(group("0::/a/b\n").memory().isEmpty)
        #expect(group("").processors() == nil)
    }
}
