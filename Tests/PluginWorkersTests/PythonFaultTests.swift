import Attribution
import Foundation
import PluginABI
import PluginHost
import PluginTestSupport
import PluginWorkers
import SparseCoding
import TensorFiles
import TestSupport
import Testing

/// What is wrong with a file of Python is told to its author: what, where, what to do. The host that survives is this test.
@Suite(.enabled(if: hasNumpy, Comment(rawValue: numpyIsMissing)))
struct PythonFaultTests {
    let services = Services()
    let folder = TemporaryFolder()
    let batch = randomBatch(tokens: 8, latents: 10, dimensions: 4, perToken: 2)

    private var path: String { folder.file("own.py") }

    private func isolation(timeout: Double = 60) -> PluginIsolation {
        var isolation = PluginIsolation(executable: builtProgram, timeout: timeout)
        isolation.attempts = 1
        return isolation
    }

    private func write(_ source: String) throws {
        try AtomicFile.write("import numpy, os\nfrom dmsae import scorer, Setting\n" + source, to: path)
    }

    private func scorer(_ rest: String = "", _ isolation: PluginIsolation? = nil) throws -> any AttributionScorer {
        try PluginCatalog(executableFolder: "/nowhere").scorer(
            path + rest, services: services.value, isolation: isolation ?? self.isolation())
    }

    /// The message of what a source does when it is made and called.
    private func message(_ source: String, _ rest: String = "", _ isolation: PluginIsolation? = nil) throws -> String {
        try write(source)
        do {
            _ = try scorer(rest, isolation).scores(batch)
            return "it went well"
        } catch { return "\(error)" }
    }

    /// A scorer whose function has this body.
    private func body(_ statements: String) -> String { "@scorer\ndef own(batch):\n    \(statements)\n" }

    @Test func `an exception is shown with its own frames, down to the line`() throws {
        let found = try message("def helper():\n    raise ValueError('no\\nway')\n" + body("return helper()"))
        #expect(
            found
                == """
                score of scorer 'own' of \(path) failed: Traceback (most recent call last):
                  File "\(path)", line 7, in own
                    return helper()
                           ^^^^^^^^
                  File "\(path)", line 4, in helper
                    raise ValueError('no\\nway')
                ValueError: no
                way
                """.replacing(hasCarets ? "" : "           ^^^^^^^^\n", with: ""))
    }

    /// Since 3.11 a traceback points at the part of a line; 3.13 leaves out what would point at all of it.
    private var hasCarets: Bool {
        (try? run("/usr/bin/env", ["python3", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]))?.status == 0
    }

    @Test(arguments: [
        (
            "return batch.activations[1:]",
            "it returned an array of shape [11]; wanted is [12], one number for each entry of the codes"
        ),
        ("batch.activations", "it returned None; wanted is an array [12]"),
        ("return ['a'] * batch.entry_count", "it returned list of type <U1; wanted is an array of numbers"),
        ("return batch.activations * numpy.nan", "scorer 'own' wrote nan at token 1, latent "),
        ("return batch.activations * 1e300", "wrote inf at token 1, latent "),
        (
            "return batch.losses([])",
            "an answer of the model is for a scorer that says so: @scorer(needs=[\"gradient\", \"evaluation\"])"
        ),
        ("batch.activations[0] = 1", "ValueError: assignment destination is read-only"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("open('/tmp/dmsae-own', 'w')", "PermissionError: [Errno 13]"),
        ("os._exit(3)", "plugin 'own' ended its process with status 3 in score"),
        ("os.kill(os.getpid(), 9)", "plugin 'own' crashed (SIGKILL: "),
        ("import ctypes; ctypes.string_at(0)", "its last words: Fatal Python error: Segmentation fault"),
        ("numpy.empty(1 << 40)", "MemoryError"),
    ])
    func `what a call does wrong is told`(statements: String, expected: String) throws {
        let found = try message(body(statements))
        #expect(found.contains(expected), "\(found)")
        #expect(found.contains(path), "\(found)")
    }

    @Test(arguments: [
        ("x = 1", "loading \(Self.place) failed: it declares no scorer; put @scorer above a function or class of it"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'\nThe interpreter is "),
        ("def own(:", "SyntaxError: "),
        ("@scorer\nclass Own:\n    pass", "Own has neither a method score nor begin, accumulate and finish"),
        ("@scorer\nclass Own:\n    def accumulate(self): pass", "Own has no method begin"),
        ("@scorer(needs='gradiant')\ndef own(batch): pass", "own needs 'gradiant'; there are gradient, evaluation,"),
        ("@scorer\ndef own(batch, x): pass", "own: setting 'x' has neither a type nor a default; write x: float"),
        ("@scorer\ndef own(batch, x: dict): pass", "own: setting 'x' has the type dict; write bool, int, float,"),
        ("@scorer\ndef own(batch, N=3): pass", "own: setting 'N' is not made of a-z, 0-9, '_'; rename it"),
        (
            "@scorer\ndef own(batch, n: int = None): pass",
            "own: setting 'n' has the default None, which is not of its type"
        ),
        (
            "@scorer\ndef a(batch): pass\n@scorer\ndef b(batch): pass",
            "holds several plugins of kind scorer: 'a', 'b'; name one"
        ),
    ])
    func `what is wrong with a file is told before it is used`(source: String, expected: String) throws {
        let found = try message(source).replacing(path, with: Self.place)
        #expect(found.contains(expected), "\(found)")
    }

    private static let place = "FILE"

    @Test(arguments: [
        (",n=0", "n of own is '0'; give a whole number from 1 to 9"),
        (",m=1", "unknown parameter 'm'; did you mean 'n'?"),
        (":other", "holds no plugin 'other'; it holds 'own'"),
    ])
    func `what a user writes wrong is told`(rest: String, expected: String) throws {
        let source = """
            from typing import Annotated
            @scorer
            def own(batch, n: Annotated[int, Setting(1, 9)] = 3): pass
            """
        #expect(try message(source, rest).contains(expected))
    }

    @Test func `a scorer that hangs is ended, and its last words say where it was`() throws {
        let found = try message(body("while True: pass"), "", isolation(timeout: 2))
        #expect(found.contains("plugin 'own' gave no sign of life for 2 s in score"), "\(found)")
        #expect(found.contains("\"\(path)\", line 5 in own"), "\(found)")
    }

    @Test func `a scorer is none of this process, and no sparsity rule`() throws {
        try write(body("return batch.activations"))
        let catalog = PluginCatalog(executableFolder: "/nowhere")
        #expect(throws: PluginFileError.needsInterpreter(path: path)) {
            try catalog.scorer(path, services: services.value, isolation: nil)
        }
        #expect(
            throws: PluginReferenceError.wrongKind(plugin: "own", path: path, kind: .scorer, wanted: .sparsityRule)
        ) { try catalog.sparsityRule(path, services: services.value, isolation: isolation()) }
    }

    private func interpreter(_ script: String) throws -> PluginIsolation {
        let program = folder.file("python")
        try AtomicFile.write("#!/bin/sh\n\(script)\n", to: program)
        chmod(program, 0o755)
        var isolation = isolation()
        isolation.python = program
        return isolation
    }

    @Test func `an interpreter that is not there, or has no numpy, is named`() throws {
        var missing = isolation()
        missing.python = "/no/python"
        #expect(
            try message(body("return 1"), "", missing).contains(
                "no Python for a scorer in Python: /no/python: No such file"))
        missing.python = "no-such-python"
        #expect(try message(body("return 1"), "", missing).contains("no-such-python: there is no such program on PATH"))
        // -S leaves out what is installed, -I what variables add.
        let bare = try message(body("return 1"), "", interpreter("exec python3 -S -I \"$@\""))
        #expect(bare.contains("scorers in Python need numpy, and ") && bare.contains("-m pip install numpy"), "\(bare)")
    }

    @Test func `a worker of another version of the protocol is refused, with both versions`() throws {
        let package = folder.file("dmsae")
        try FileManager.default.copyItem(atPath: fixture("../../Plugins/Python/dmsae"), toPath: package)
        let wire = String(decoding: contents(of: package + "/wire.py"), as: UTF8.self)
        try AtomicFile.write(wire.replacing("PROTOCOL = 1", with: "PROTOCOL = 7"), to: package + "/wire.py")
        #expect(
            try message(body("return 1"), "", interpreter("exec python3 \(package)/worker.py"))
                == "the Python package in \(package) speaks version 7 of the worker protocol, and this dmsae version 1; use the "
                + "two of one release")
    }

    @Test func `the host's end is the worker's, whatever it is at`() throws {
        // A call into C that holds the interpreter's lock: no thread of Python could end it.
        try write(body("print(os.getpid()); import ctypes; ctypes.PyDLL(None).sleep(600)"))
        let program = """
            import subprocess, sys, time, os, signal
            host = subprocess.Popen(sys.argv[1:], stderr=subprocess.PIPE, text=True)
            worker = next(int(line.split(": ")[1]) for line in host.stderr if line.startswith("own: "))
            host.kill()
            host.wait()
            for _ in range(500):
                state = open(f"/proc/{worker}/stat").read().split()[2] if os.path.exists(f"/proc/{worker}") else "Z"
                if state == "Z":
                    sys.exit(0)
                time.sleep(0.02)
            sys.exit("it is still there")
            """
        let splice = try GoldenSplice()
        var provenance = SAEProvenance()
        provenance.layer = 1
        try SAEFolder.write(try splice.sae(), provenance, to: folder.file("sae"))
        var writer = SafetensorsWriter()
        writer.add("input_ids", integers: splice.tokens.ids.map(Int64.init), shape: [4, 24])
        try writer.write(to: folder.file("ids"))
        let result = try run(
            "/usr/bin/env",
            [
                "python3", "-c", program, builtProgram, "score", "--model", fixture("models/llama"), "--sae",
                folder.file("sae"), "--tokens", folder.file("ids"), "--out", folder.file("scores"), "--scorer", path,
            ])
        #expect(result.status == 0, "\(result.errors)")
    }
}
