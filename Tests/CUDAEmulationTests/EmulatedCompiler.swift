import Foundation

/// What the emulated NVRTC makes of a text; thrown: its log.
func compiled(_ text: String, _ options: [String] = ["--gpu-architecture=sm_90"]) throws -> [UInt8] {
    typealias Handle = UnsafeMutableRawPointer
    typealias Create =
        @convention(c) (
            UnsafeMutablePointer<Handle?>, UnsafePointer<CChar>, UnsafePointer<CChar>, Int32, Handle?, Handle?
        ) -> Int32
    typealias Compile = @convention(c) (Handle?, Int32, UnsafePointer<UnsafePointer<CChar>?>) -> Int32
    typealias Size = @convention(c) (Handle?, UnsafeMutablePointer<Int>) -> Int32
    typealias Get = @convention(c) (Handle?, UnsafeMutableRawPointer) -> Int32
    typealias Destroy = @convention(c) (UnsafeMutablePointer<Handle?>) -> Int32
    func entry<Type>(_ name: String, _: Type.Type) -> Type {
        unsafeBitCast(dlsym(EmulatedCUDA.shared.handle, name), to: Type.self)
    }
    func bytes(_ size: String, _ get: String) -> [UInt8] {
        var count = 0
        guard entry(size, Size.self)(program, &count) == 0 else { return [] }
        var result = [UInt8](repeating: 0, count: count)
        guard entry(get, Get.self)(program, &result) == 0 else { return [] }
        return result
    }

    var program: Handle?
    guard entry("nvrtcCreateProgram", Create.self)(&program, text, "kernel.cu", 0, nil, nil) == 0 else {
        throw CUDAError(description: "nvrtcCreateProgram")
    }
    defer { _ = entry("nvrtcDestroyProgram", Destroy.self)(&program) }
    let words = options.map { strdup($0) }
    defer { words.forEach { free($0) } }
    let result = words.map { UnsafePointer($0) }.withUnsafeBufferPointer {
        entry("nvrtcCompileProgram", Compile.self)(program, Int32(options.count), $0.baseAddress!)
    }
    guard result == 0 else {
        throw CUDAError(
            description: String(
                decoding: bytes("nvrtcGetProgramLogSize", "nvrtcGetProgramLog").dropLast(), as: UTF8.self))
    }
    return bytes("nvrtcGetCUBINSize", "nvrtcGetCUBIN")
}
