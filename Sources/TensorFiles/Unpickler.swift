/// A value of a pickle.
indirect enum PickleValue {
    case none
    case boolean(Bool)
    case integer(Int)
    case real(Double)
    case text(String)
    case tuple([PickleValue])
    case list(PickleList)
    case dictionary(PickleDictionary)
    /// A name that was allowed, such as `torch FloatStorage`.
    case global(String)
    /// What a persistent id or an allowed call stands for.
    case object(any Sendable)
}

/// A list, which is filled after it was made.
final class PickleList {
    fileprivate(set) var elements: [PickleValue] = []
}

/// A dictionary, likewise; in the order of the file, with texts as keys.
final class PickleDictionary {
    fileprivate(set) var members: [(key: String, value: PickleValue)] = []
    private var keys: Set<String> = []

    /// Adds a member; false if there is one of this key.
    fileprivate func add(_ key: String, _ value: PickleValue) -> Bool {
        guard keys.insert(key).inserted else { return false }
        members.append((key, value))
        return true
    }
}

/// Reads pickles (protocols 2 to 5) that consist of data and of calls from a closed list, and refuses all others by
/// name: no code runs, nothing is imported.
///
/// `globals` are the names that may occur; `persistent` and `call` say what a persistent id and a call of one
/// of them stand for.
struct Unpickler {
    let path: String
    let globals: Set<String>
    let persistent: (PickleValue) throws -> PickleValue
    let call: (_ name: String, _ arguments: [PickleValue]) throws -> PickleValue

    /// Nested more deeply than any real file.
    private static let deepest = 64

    private struct Item {
        var value: PickleValue
        /// How many levels are below it.
        var depth = 0
    }

    func malformed(_ what: String) -> TensorFileError {
        .malformed(file: path, what: "its pickle is not sound: \(what)", next: "fetch it again")
    }

    func refused(_ what: String) -> TensorFileError {
        .unsupported(
            file: path, what: "its pickle holds \(what), which is not read, since a pickle can run any program",
            next: "save the tensors alone: torch.save of a state dict, or safetensors")
    }

    /// The value of the pickle in `bytes`.
    ///
    /// - Throws: `TensorFileError`.
    func value(of bytes: UnsafeRawBufferPointer) throws -> PickleValue {
        var (at, stack, marks, memo) = (0, [Item](), [Int](), [Int: Item]())

        func take(_ count: Int) throws -> UnsafeRawBufferPointer {
            guard count >= 0, count <= bytes.count - at else { throw malformed("it ends too early") }
            defer { at += count }
            return UnsafeRawBufferPointer(rebasing: bytes[at..<at + count])
        }
        func number<Number: FixedWidthInteger>(_: Number.Type) throws -> Int {
            let raw = try take(MemoryLayout<Number>.size).loadUnaligned(as: Number.self)
            guard let value = Int(exactly: Number(littleEndian: raw)) else { throw malformed("a size of \(raw)") }
            return value
        }
        func text(_ count: Int) throws -> String {
            guard let text = String(validating: try take(count), as: UTF8.self) else {
                throw malformed("a text is not UTF-8")
            }
            return text
        }
        func line() throws -> String {
            guard let end = bytes[at...].firstIndex(of: 0x0A) else { throw malformed("it ends too early") }
            let text = try text(end - at)
            at += 1
            return text
        }
        func pop() throws -> Item {
            guard stack.count > (marks.last ?? 0), let item = stack.popLast() else {
                throw malformed("its stack is empty")
            }
            return item
        }
        func popMark() throws -> [Item] {
            guard let mark = marks.popLast(), mark <= stack.count else { throw malformed("a mark is missing") }
            defer { stack.removeLast(stack.count - mark) }
            return Array(stack[mark...])
        }
        func push(_ value: PickleValue, over parts: [Item] = []) throws {
            let depth = parts.isEmpty ? 0 : 1 + (parts.map(\.depth).max() ?? 0)
            guard depth <= Self.deepest else { throw malformed("it is nested more than \(Self.deepest) deep") }
            stack.append(Item(value: value, depth: depth))
        }
        func tuple(_ count: Int) throws {
            var parts: [Item] = []
            for _ in 0..<count { parts.append(try pop()) }
            try push(.tuple(parts.reversed().map(\.value)), over: parts)
        }
        func global(_ name: String) throws {
            guard globals.contains(name) else { throw refused("\"\(name)\"") }
            try push(.global(name))
        }
        func set(_ items: [Item]) throws {
            guard let target = stack.last, case .dictionary(let dictionary) = target.value, items.count % 2 == 0 else {
                throw malformed("members of what is no dictionary")
            }
            for i in stride(from: 0, to: items.count, by: 2) {
                guard case .text(let key) = items[i].value else { throw malformed("a key that is no text") }
                guard dictionary.add(key, items[i + 1].value) else { throw malformed("\"\(key)\" twice") }
            }
            try deepen(items)
        }
        func add(_ items: [Item]) throws {
            guard let target = stack.last, case .list(let list) = target.value else {
                throw malformed("elements of what is no list")
            }
            list.elements += items.map(\.value)
            try deepen(items)
        }
        func deepen(_ items: [Item]) throws {
            let depth = 1 + (items.map(\.depth).max() ?? 0)
            guard depth <= Self.deepest else { throw malformed("it is nested more than \(Self.deepest) deep") }
            stack[stack.count - 1].depth = max(stack[stack.count - 1].depth, depth)
        }
        func remember(_ key: Int) throws {
            guard let top = stack.last else { throw malformed("its stack is empty") }
            memo[key] = top
        }
        func recall(_ key: Int) throws {
            guard let item = memo[key] else { throw malformed("it refers to what was not remembered") }
            // How deep these are is known when they are filled, and nothing that is read needs them twice.
            switch item.value {
            case .list, .dictionary: throw refused("a list or dictionary in two places")
            default: stack.append(item)
            }
        }

        while true {
            let opcode = try take(1)[0]
            switch opcode {
            case 0x80:
                let version = try number(UInt8.self)
                guard (2...5).contains(version) else { throw refused("protocol \(version)") }
            case 0x95: _ = try take(8)
            case UInt8(ascii: "."):
                guard marks.isEmpty, stack.count == 1 else { throw malformed("it ends with \(stack.count) values") }
                return stack[0].value
            case UInt8(ascii: "("): marks.append(stack.count)
            case UInt8(ascii: "N"): try push(.none)
            case 0x88: try push(.boolean(true))
            case 0x89: try push(.boolean(false))
            case UInt8(ascii: "K"): try push(.integer(try number(UInt8.self)))
            case UInt8(ascii: "M"): try push(.integer(try number(UInt16.self)))
            case UInt8(ascii: "J"): try push(.integer(try number(Int32.self)))
            case 0x8A: try push(.integer(try long(try take(try number(UInt8.self)))))
            case UInt8(ascii: "G"):
                let bits = try take(8).loadUnaligned(as: UInt64.self)
                try push(.real(Double(bitPattern: UInt64(bigEndian: bits))))
            case UInt8(ascii: "X"): try push(.text(try text(try number(UInt32.self))))
            case 0x8C: try push(.text(try text(try number(UInt8.self))))
            case UInt8(ascii: ")"): try push(.tuple([]))
            case 0x85, 0x86, 0x87: try tuple(Int(opcode) - 0x84)
            case UInt8(ascii: "t"):
                let parts = try popMark()
                try push(.tuple(parts.map(\.value)), over: parts)
            case UInt8(ascii: "]"): try push(.list(PickleList()))
            case UInt8(ascii: "a"): try add([try pop()])
            case UInt8(ascii: "e"): try add(try popMark())
            case UInt8(ascii: "}"): try push(.dictionary(PickleDictionary()))
            case UInt8(ascii: "s"):
                let value = try pop()
                try set([try pop(), value])
            case UInt8(ascii: "u"): try set(try popMark())
            case UInt8(ascii: "c"):
                let module = try line()
                try global("\(module) \(try line())")
            case 0x93:
                guard case .text(let name) = try pop().value, case .text(let module) = try pop().value else {
                    throw malformed("a name that is no text")
                }
                try global("\(module) \(name)")
            case UInt8(ascii: "Q"): try push(try persistent(try pop().value))
            case UInt8(ascii: "R"):
                guard case .tuple(let arguments) = try pop().value, case .global(let name) = try pop().value else {
                    throw refused("a call of something else than a name")
                }
                try push(try call(name, arguments))
            case UInt8(ascii: "b"):
                // State of an ordered dictionary: `_metadata`, versions of modules, which say nothing of tensors.
                _ = try pop()
                guard let top = stack.last, case .dictionary = top.value else {
                    throw refused("the state of something else than a dictionary")
                }
            case UInt8(ascii: "q"): try remember(try number(UInt8.self))
            case UInt8(ascii: "r"): try remember(try number(UInt32.self))
            case 0x94: try remember(memo.count)
            case UInt8(ascii: "h"): try recall(try number(UInt8.self))
            case UInt8(ascii: "j"): try recall(try number(UInt32.self))
            default:
                let shown = opcode > 0x20 && opcode < 0x7F ? "\"\(Character(Unicode.Scalar(opcode)))\"" : "\(opcode)"
                throw refused("the instruction \(shown)")
            }
        }
    }

    /// A whole number of any length, in two's complement.
    private func long(_ bytes: UnsafeRawBufferPointer) throws -> Int {
        guard bytes.count <= 8 else { throw malformed("a number of \(bytes.count) bytes") }
        guard let last = bytes.last else { return 0 }
        var value = last & 0x80 != 0 ? -1 : 0
        for byte in bytes.reversed() { value = value << 8 | Int(byte) }
        return value
    }
}
