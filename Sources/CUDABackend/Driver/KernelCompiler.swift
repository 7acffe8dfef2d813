import Glibc
import TensorFiles

/// NVRTC: CUDA C++ text to code for a card.
struct KernelCompiler: Sendable {
    private typealias Program = OpaquePointer
    private typealias Text = UnsafeMutablePointer<CChar>

    let library: CUDALibrary
    /// "13.0"
    let version: String
    private let createProgram:
        @convention(c) (
            UnsafeMutablePointer<Program?>, UnsafePointer<CChar>, UnsafePointer<CChar>, Int32,
            UnsafeRawPointer?, UnsafeRawPointer?
        ) -> Int32
    private let compileProgram: @convention(c) (Program, Int32, UnsafePointer<UnsafePointer<CChar>?>) -> Int32
    private let getLogSize: @convention(c) (Program, UnsafeMutablePointer<Int>) -> Int32
    private let getLog: @convention(c) (Program, Text) -> Int32
    private let getCodeSize: @convention(c) (Program, UnsafeMutablePointer<Int>) -> Int32
    private let getCode: @convention(c) (Program, Text) -> Int32
    private let destroyProgram: @convention(c) (UnsafeMutablePointer<Program?>) -> Int32
    private let getErrorString: @convention(c) (Int32) -> UnsafePointer<CChar>?

    /// - Throws: `CUDAError`.
    init() throws(CUDAError) {
        library = try CUDALibrary(
            ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"],
            advice: "it comes with the CUDA toolkit, with PyTorch, or by pip install nvidia-cuda-nvrtc")
        createProgram = try library.function("nvrtcCreateProgram")
        compileProgram = try library.function("nvrtcCompileProgram")
        getLogSize = try library.function("nvrtcGetProgramLogSize")
        getLog = try library.function("nvrtcGetProgramLog")
        getCodeSize = try library.function("nvrtcGetCUBINSize")
        getCode = try library.function("nvrtcGetCUBIN")
        destroyProgram = try library.function("nvrtcDestroyProgram")
        getErrorString = try library.function("nvrtcGetErrorString")
        let getVersion: @convention(c) (UnsafeMutablePointer<Int32>, UnsafeMutablePointer<Int32>) -> Int32 =
            try library.function("nvrtcVersion")
        var (major, minor): (Int32, Int32) = (0, 0)
        _ = getVersion(&major, &minor)
        version = "\(major).\(minor)"
    }

    /// Code of the kernels of `file`, whose text is `source`.
    ///
    /// - Throws: `CUDAError.compilation` with the compiler's words.
    func compile(_ source: String, file: String, options: [String]) throws(CUDAError) -> [UInt8] {
        var program: Program?
        try require(createProgram(&program, source, file, 0, nil, nil), file, options, nil)
        guard let created = program else { throw .compilation(file: file, options: "", log: "no program") }
        defer { _ = destroyProgram(&program) }
        let words = options.map { strdup($0) }
        defer { for word in words { free(word) } }
        let pointers = words.map { UnsafePointer<CChar>($0) }
        try require(
            pointers.withUnsafeBufferPointer { compileProgram(created, Int32($0.count), $0.baseAddress!) }, file,
            options, created)
        var size = 0
        try require(getCodeSize(created, &size), file, options, created)
        var code = [UInt8](repeating: 0, count: size)
        let result = code.withUnsafeMutableBytes {
            getCode(created, $0.baseAddress!.assumingMemoryBound(to: CChar.self))
        }
        try require(result, file, options, created)
        return code
    }

    private func require(
        _ code: Int32, _ file: String, _ options: [String], _ program: Program?
    ) throws(CUDAError) {
        guard code != 0 else { return }
        var log = getErrorString(code).map { String(cString: $0) } ?? "error \(code)"
        var size = 0
        if let program, getLogSize(program, &size) == 0, size > 1 {
            var text = [CChar](repeating: 0, count: size)
            if getLog(program, &text) == 0 {
                log += ": " + String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            }
        }
        throw .compilation(file: file, options: options.joined(separator: " "), log: log)
    }
}
