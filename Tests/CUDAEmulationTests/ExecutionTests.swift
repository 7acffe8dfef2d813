import Foundation
import LinearAlgebra
import TestSupport
import Testing

/// Blocks of coroutines: barriers, shuffles, shared memory, atomics, and what a wrong kernel is told.
@Suite struct ExecutionTests {
    /// Whole numbers, so that every order of summation gives the same float.
    private let x = wholeMatrix(5, 700, seed: 3, bound: 100)

    private func rowSums(_ card: EmulatedCard, kernel: String, threads: UInt32) throws -> [Float] {
        let (input, output) = (try card.upload(x.values), try card.allocate(4 * x.rows))
        try card.launch(
            kernel, blocks: UInt32(x.rows), threads: threads, .address(input), .address(output), .int(Int32(x.columns)))
        return try card.floats(output, x.rows)
    }

    private var expectedSums: [Float] {
        (0..<x.rows).map { row in (0..<x.columns).reduce(0) { $0 + x[row * x.columns + $1] } }
    }

    @Test(arguments: [32, 64, 96, 256, 1024] as [UInt32]) func `shuffles and a barrier add up a row`(threads: UInt32)
        throws
    {
        let card = try EmulatedCard()
        for order in [0, 1, 2, 77] {
            try card.set("order=\(order)")
            #expect(try rowSums(card, kernel: "example_row_sums", threads: threads) == expectedSums)
        }
    }

    @Test func `a missing barrier shows in another order`() throws {
        let card = try EmulatedCard()
        let found = try (1...4).map { order in
            try card.set("order=\(order)")
            return try rowSums(card, kernel: "example_row_sums_racing", threads: 256)
        }
        #expect(found.contains { $0 != expectedSums })
        #expect(Set(found).count > 1)
    }

    @Test func `who comes last among blocks depends on the order`() throws {
        let card = try EmulatedCard()
        let place = try card.allocate(4)
        let last = try (0...6).map { order in
            try card.set("order=\(order)")
            try card.launch("example_last_block", blocks: 50, threads: 32, .address(place))
            return try card.words(place, 1)[0]
        }
        #expect(last[0] == 49)
        #expect(Set(last).count > 2)
    }

    @Test func `integer atomics count in any order`() throws {
        let values = (0..<3000).map { UInt32(truncatingIfNeeded: $0 &* 2_654_435_761) >> 7 }
        var expected = [UInt32](repeating: 0, count: 64)
        for value in values { expected[Int(value % 64)] += 1 }
        let card = try EmulatedCard()
        let (input, bins) = (try card.upload(values), try card.allocate(256))
        for order in [0, 5] {
            try card.set("order=\(order)")
            try card.check(card.cuda.fill(bins, 0, 64, nil))
            try card.launch("example_histogram", blocks: 7, threads: 128, .address(input), .address(bins), .int(3000))
            #expect(try card.words(bins, 64) == expected)
        }
    }

    @Test func `ballots keep indices in order`() throws {
        let values = randomMatrix(1, 1000, seed: 8).values
        let expected = values.indices.filter { values[$0] > 0 }.map { Int32($0) }
        let card = try EmulatedCard()
        let (input, indices, count) = (try card.upload(values), try card.allocate(4000), try card.allocate(4))
        for order in [0, 9] {
            try card.set("order=\(order)")
            try card.launch(
                "example_compact", blocks: 1, threads: 192, .address(input), .address(indices), .address(count),
                .int(1000))
            #expect(try card.words(count, 1) == [UInt32(expected.count)])
            #expect(try card.download(indices, expected.count, of: Int32(0)) == expected)
        }
    }

    @Test func `vectors, structures by value and dynamic shared memory`() throws {
        let x = randomMatrix(1, 4 * 37).values
        let card = try EmulatedCard()
        let (input, output) = (try card.upload(x), try card.allocate(4 * x.count))
        try card.launch(
            "example_scale", blocks: 3, threads: 16, shared: 16 * 16, .address(input), .address(output), .int(37),
            .float(2),
            .pair(0.5, 9))
        #expect(try card.floats(output, x.count) == x.map { 2 * $0 + 0.5 })
    }

    @Test func `shared memory is spoilt between blocks`() throws {
        let card = try EmulatedCard()
        let output = try card.allocate(12)
        try card.launch("example_unwritten", blocks: 3, threads: 32, .address(output))
        #expect(try card.words(output, 3) == [UInt32](repeating: .max, count: 3))
    }

    @Test func `a barrier that not all threads reach is reported`() throws {
        let card = try EmulatedCard()
        let output = try card.allocate(256)
        #expect(throws: CUDAError(description: "CUDA_ERROR_LAUNCH_FAILED")) {
            try card.launch("example_diverging", blocks: 1, threads: 64, .address(output))
        }
        let complaint = String(cString: card.cuda.complaint())
        #expect(
            complaint.hasPrefix(
                "kernel example_diverging, block 0,0,0: 32 of 64 threads wait for ever in __syncthreads (comp"))
        #expect(complaint.hasSuffix("32 have returned"))
        // As on a card, nothing works any more in this context.
        #expect(throws: CUDAError(description: "CUDA_ERROR_LAUNCH_FAILED")) { try card.allocate(4) }
    }

    @Test func `lanes that are named and do not come are reported`() throws {
        let card = try EmulatedCard()
        let output = try card.allocate(256)
        #expect(throws: CUDAError(description: "CUDA_ERROR_LAUNCH_FAILED")) {
            try card.launch("example_missing_lanes", blocks: 1, threads: 32, .address(output))
        }
        #expect(String(cString: card.cuda.complaint()).contains("16 of 32 threads wait for ever in __shfl_xor_sync"))
    }

    @Test func `what no card would launch is refused`() throws {
        let card = try EmulatedCard()
        let place = try card.allocate(4)
        let refused = CUDAError(description: "CUDA_ERROR_INVALID_VALUE")
        for (blocks, threads, shared): (UInt32, UInt32, UInt32) in [
            (0, 32, 0), (1, 0, 0), (1, 1025, 0), (1, 32, 49_153),
        ] {
            #expect(throws: refused) {
                try card.launch("example_last_block", blocks: blocks, threads: threads, shared: shared, .address(place))
            }
        }
        // More shared memory has to be asked for.
        let function = try card.function("example_last_block")
        try card.check(card.cuda.setFunctionAttribute(function, 8, 60_000))
        try card.launch("example_last_block", blocks: 1, threads: 32, shared: 60_000, .address(place))
        #expect(throws: refused) { try card.check(card.cuda.setFunctionAttribute(function, 8, 300_000)) }
    }

    @Test func `a kernel gets no pointer to freed memory`() throws {
        let card = try EmulatedCard()
        let place = try card.allocate(4)
        try card.check(card.cuda.free(place))
        #expect(throws: CUDAError(description: "CUDA_ERROR_ILLEGAL_ADDRESS")) {
            try card.launch("example_last_block", blocks: 1, threads: 32, .address(place))
        }
        #expect(
            String(cString: card.cuda.complaint())
                == "kernel example_last_block: argument 0 points to no memory of the card")
    }

    @Test func `reading past an allocation ends the process and says where`() async throws {
        let result = try await #require(processExitsWith: .signal(SIGSEGV), observing: [\.standardErrorContent]) {
            let card = try EmulatedCard()
            let (input, output) = (try card.upload([Int32](repeating: 1, count: 64)), try card.allocate(4))
            try card.launch(
                "example_overrun", blocks: 1, threads: 32, .address(input), .address(output), .int(64), .int(1))
        }
        let errors = String(decoding: result.standardErrorContent, as: UTF8.self)
        #expect(
            errors.contains(
                "kernel example_overrun, block 0,0,0, thread 0: fault at byte 256 of an allocation of 256 bytes"))
    }

    @Test func `an index past an array in shared memory ends the process`() async throws {
        await #expect(processExitsWith: .signal(SIGILL)) {
            let card = try EmulatedCard()
            let output = try card.allocate(4)
            try card.launch("example_shared_overrun", blocks: 1, threads: 32, .address(output), .int(8))
        }
    }

    @Test func `an address of the card is none of the host's`() async throws {
        await #expect(processExitsWith: .signal(SIGSEGV)) {
            let address = try EmulatedCard().allocate(64)
            exit(Int32(UnsafePointer<Float>(bitPattern: UInt(address))!.pointee))
        }
    }
}
