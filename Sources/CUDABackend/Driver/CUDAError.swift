import LinearAlgebra
import TensorFiles

/// What can go wrong between this program and a card.
public enum CUDAError: Error, Equatable {
    /// A shared library that was nowhere to be found.
    case libraryMissing(name: String, tried: [String], advice: String)
    /// A library without a function that this program calls.
    case symbolMissing(library: String, symbol: String)
    /// A call that failed.
    case call(function: String, code: Int, name: String, text: String)
    /// A call of NCCL that failed.
    case exchange(function: String, code: Int, version: String, text: String)
    /// A card that is not there.
    case noSuchDevice(asked: Int, count: Int)
    /// A card that is too old.
    case oldDevice(name: String, capability: String)
    /// A kernel that the card's compiler refused.
    case compilation(file: String, options: String, log: String)
    /// A value of DMSAE_DEVICE or `--device` that names no device.
    case badDevice(String)
    /// More memory than the card has.
    case memory(MemoryNeed, free: Int, total: Int, device: String)
    /// A size that the kernels are not written for.
    case unsupported(name: String, value: Int, most: Int)
}

extension CUDAError: CustomStringConvertible {
    /// What failed, on which value, what to do next.
    public var description: String { printable(sentence) }

    private var sentence: String {
        switch self {
        case .libraryMissing(let name, let tried, let advice):
            "\(name) was not found (tried \(tried.joined(separator: ", "))); \(advice), or name its folder in DMSAE_CUDA_PATH"
        case .symbolMissing(let library, let symbol):
            "\(library) has no \(symbol); it is older than this program needs: install CUDA 12 or later"
        case .call(let function, let code, let name, let text):
            "\(function) failed with \(code) (\(name): \(text)); `dmsae doctor` shows the card and its driver, `--device cpu` "
                + "does without"
        case .exchange(let function, let code, let version, let text):
            "\(function) failed with \(code) (NCCL \(version): \(text)); NCCL_DEBUG=INFO says more, DMSAE_NCCL=none does without"
        case .noSuchDevice(let asked, let count):
            count == 0
                ? "there is no CUDA device on this machine; use --device cpu"
                : "there is no CUDA device \(asked): this machine has \(count), counted from 0"
        case .oldDevice(let name, let capability):
            "\(name) has compute capability \(capability); 8.0 or later (Ampere) is needed; use --device cpu"
        case .compilation(let file, let options, let log):
            "the kernels of \(file) were not compiled (\(options)): \(log)"
        case .badDevice(let value):
            "\"\(value)\" names no device; it must be cpu, cuda or cuda:N, N counted from 0"
        case .memory(let need, let free, let total, let device):
            "\(need), and \(device) has \(memoryText(free)) free of \(memoryText(total)); \(need.advice)"
        case .unsupported(let name, let value, let most):
            "\(name) is \(value); on a CUDA device it can be \(most) at most; use --device cpu"
        }
    }
}
