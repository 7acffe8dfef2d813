import Foundation
import TensorFiles
import TestSupport
import Testing

/// What the environment and the limits of a process do to a command.
@Suite struct SurroundingsTests {
    private let folder = TemporaryFolder()

    init() throws {
        let golden = try Golden("gxa/gxa.safetensors")
        try write("x", try golden.matrix("x"), shape: [96, 48], to: folder.file("x"))
    }

    private func train(_ more: String...) -> [String] {
        ["train", "--activations", folder.file("x"), "--batch", "32", "--steps", "3", "--k", "8", "--quiet"]
            + ["--out", folder.file("out")] + more
    }

    private func run(_ arguments: [String], with variable: String, _ value: String) throws -> ProgramResult {
        var environment = startingEnvironment
        environment[variable] = value
        return try TestSupport.run(builtProgram, arguments, environment: environment)
    }

    /// Runs it in a shell after `before`, which sets limits.
    private func run(after before: String, _ arguments: [String]) throws -> ProgramResult {
        try TestSupport.run("/bin/bash", ["-c", before + "; exec \"$@\"", "bash", builtProgram] + arguments)
    }

    @Test(arguments: [
        ("DMSAE_LANES", "abc", "it must be a whole number from 1 to 256, or unset"),
        ("DMSAE_LANES", "0", "it must be a whole number from 1 to 256, or unset"),
        ("DMSAE_LANES", "100000", "it must be a whole number from 1 to 256, or unset"),
        ("DMSAE_LANES", "", "it must be a whole number from 1 to 256, or unset"),
        ("DMSAE_CPU", "9", "it must be an x86-64 level that this processor has (2"),
        ("DMSAE_CACHE", "cache", "it must be an absolute path, or unset"),
        ("DMSAE_CPU", "abc", "it must be an x86-64 level that this processor has (2"),
    ]) func variablesWithValuesThatMeanNothingAreErrors(_ name: String, _ value: String, _ wanted: String) throws {
        let result = try run(train("--width", "64"), with: name, value)
        #expect(result.status == 1)
        #expect(
            result.errors.hasPrefix("Error: the environment variable \(name) is \"\(value)\"; \(wanted)"),
            "\(result.errors)")
        #expect(!isThere(folder.file("out")))
    }

    @Test func aBenchmarkRunsNoOtherKernelsThanItWasToldTo() throws {
        let program = URL(filePath: builtProgram).deletingLastPathComponent().path + "/Benchmarks"
        var environment = startingEnvironment
        environment["DMSAE_CPU"] = "9"
        let result = try TestSupport.run(program, [], environment: environment)
        #expect(
            result.status == 64
                && result.errors.hasPrefix("Error: the environment variable DMSAE_CPU is \"9\"; it must"))
    }

    @Test func aMisspeltVariableIsWarnedOf() throws {
        let result = try run(train("--width", "64"), with: "DMSAE_LANE", "1")
        #expect(result.status == 0)
        #expect(
            result.errors.hasPrefix(
                "warning: the environment variable DMSAE_LANE has no meaning to dmsae; did you mean DMSAE_LANES?\n"),
            "\(result.errors)")
    }

    @Test func moreLanesThanTheProcessMayUseAreSaid() throws {
        let result = try run(after: "export DMSAE_LANES=3; taskset -p -c 0 $$ > /dev/null", train("--width", "64"))
        #expect(result.status == 0)
        #expect(
            result.errors.hasPrefix(
                "warning: DMSAE_LANES is 3, and this process may use 1 processor: lanes will wait for each other\n"),
            "\(result.errors)")
    }

    @Test func whatNeedsMoreMemoryThanThereIsSaysHowMuchBeforeItStarts() throws {
        let result = try run(after: "ulimit -v 2000000", train("--width", "16777216"))
        #expect(result.status == 1)
        #expect(
            result.errors.hasPrefix("Error: training 16777216 latents of 48 inputs on batches of 32 needs 2"),
            "\(result.errors)")
        for part in [
            "GiB (parameters, gradients and moments 2",
            "of the 1.9 GiB of address space that its limit allows (ulimit -v)",
            "; lower --width or --batch\n",
        ] {
            #expect(result.errors.contains(part), "\(result.errors)")
        }
        #expect(!isThere(folder.file("out")))
    }

    @Test(arguments: [5, 8, 12]) func tooFewDescriptorsAreAMatterOfTheirLimit(_ count: Int) throws {
        let result = try run(after: "ulimit -n \(count)", train("--width", "64"))
        #expect(result.status == 1)
        #expect(result.errors.hasSuffix("raise the limit (ulimit -n)\n"), "\(result.errors)")
    }

    /// Swift's runtime would end in a fault before it could say anything. Not less than 128 KiB: the environment lies on
    /// the stack too, and beside it the dynamic linker needs some pages before anything of the program runs.
    @Test func aSmallStackIsEnlargedOrRefused() throws {
        let soft = try run(after: "ulimit -S -s 128", train("--width", "64"))
        #expect(soft.status == 0 && soft.errors == "", "\(soft.status): \(soft.errors)")
        let hard = try run(after: "ulimit -s 128", ["--version"])
        #expect(hard.status == 1)
        #expect(
            hard.errors
                == "Error: the limit on the stack (ulimit -s) leaves less than 1024 KiB; raise it, 8192 is usual\n")
    }

    /// And not "Fatal error: failed to allocate 65568 bytes of memory with alignment 8".
    @Test func aLimitThatLeavesNoRoomIsSaidBeforeSwiftTrips() throws {
        for command in [["plugin", "list"], ["doctor"], ["distill", "demo", "--print-recipe"]] {
            let result = try run(after: "ulimit -v 92000", command)
            #expect(result.status == 1 && result.output == "")
            #expect(
                result.errors.hasPrefix("Error: dmsae itself needs 32 MiB, and this process may take ")
                    && result.errors.hasSuffix(
                        " more of the 90 MiB of address space that its limit allows (ulimit -v); raise the limit\n"),
                "\(result.errors)")
        }
    }

    /// OpenBLAS asks for its memory again for ever where it is refused; Swift's arrays trap. Below the first of these the
    /// system's loader already gives up.
    @Test(arguments: [120_000, 160_000, 200_000, 300_000, 400_000, 600_000])
    func aCommandThatIsShortOfAddressSpaceWorksOrSaysSo(_ kibibytes: Int) throws {
        let result = try run(after: "export DMSAE_LANES=2; ulimit -v \(kibibytes)", train("--width", "64"))
        if result.status == 0 {
            #expect(kibibytes > 300_000 && isThere(folder.file("out/cfg.json")))
        } else {
            #expect(result.status == 1, "\(result.status): \(result.errors)")
            #expect(result.errors.contains("Error: "), "\(result.errors)")
            #expect(result.errors.contains("emory") || result.errors.contains("address space"), "\(result.errors)")
            #expect(!isThere(folder.file("out/cfg.json")))
        }
    }

    @Test func aFileBeyondTheLimitOfUlimitIsAMessageAndLeavesNothing() throws {
        // More than a plugin, whose copy in memory counts, and less than the weights.
        let result = try run(after: "ulimit -f 256", train("--width", "1024"))
        #expect(result.status == 1)
        #expect(
            result.errors.contains(": File too large, the limit on files is 262144 bytes (ulimit -f);"),
            "\(result.errors)")
        #expect(
            !(try FileManager.default.contentsOfDirectory(atPath: folder.file("out")).contains {
                $0.hasSuffix(".partial")
            }))
    }
}
