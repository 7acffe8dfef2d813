import Foundation
import LinearAlgebra

/// Damages files as disks, editors and strangers do: by seed, so that a finding can be had again.
struct Mutation {
    private let random: CounterRandom
    private var at: UInt64 = 0

    init(seed: UInt64) { random = CounterRandom(seed: seed, purpose: .test, step: 7) }

    private mutating func below(_ count: Int) -> Int {
        at += 1
        return Int(random.word(at).multipliedFullWidth(by: UInt64(max(1, count))).high)
    }

    /// JSON that lost, gained or exchanged a value, or bytes.
    mutating func json(_ bytes: [UInt8]) -> [UInt8] {
        guard below(4) > 0, let root = try? JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed),
            let changed = try? JSONSerialization.data(withJSONObject: change(root), options: .fragmentsAllowed)
        else { return raw(bytes) }
        return Array(changed)
    }

    /// A safetensors file with another header or other bytes.
    mutating func safetensors(_ bytes: [UInt8]) -> [UInt8] {
        let length = bytes.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        guard below(3) > 0, bytes.count >= 8 + length else { return raw(bytes) }
        var header = json(Array(bytes[8..<8 + length]))
        while header.count % 8 != 0 { header.append(32) }
        return withUnsafeBytes(of: UInt64(header.count).littleEndian) { Array($0) } + header + bytes[(8 + length)...]
    }

    private mutating func raw(_ bytes: [UInt8]) -> [UInt8] {
        guard !bytes.isEmpty else { return [0] }
        var bytes = bytes
        switch below(4) {
        case 0: return Array(bytes.prefix(below(bytes.count)))
        case 1: bytes[below(bytes.count)] = UInt8(below(256))
        case 2: bytes[below(bytes.count)] ^= UInt8(1 << below(8))
        default: bytes.insert(contentsOf: bytes.prefix(below(64)), at: below(bytes.count))
        }
        return bytes
    }

    private mutating func change(_ value: Any) -> Any {
        // Texts hold JSON of their own in places: keys and costs.
        if let text = value as? String, text.hasPrefix("{") || text.hasPrefix("["), below(2) == 0 {
            return String(decoding: json(Array(text.utf8)), as: UTF8.self)
        }
        if var object = value as? [String: Any], let name = Array(object.keys.sorted())[checked: below(object.count)],
            below(6) > 0
        {
            if below(6) == 0 { object[name] = nil } else { object[name] = change(object[name]!) }
            return object
        }
        if var array = value as? [Any], !array.isEmpty, below(4) > 0 {
            let i = below(array.count)
            switch below(5) {
            case 0: array.remove(at: i)
            case 1: array.insert(array[i], at: i)
            case 2: array = Array(array.prefix(i))
            default: array[i] = change(array[i])
            }
            return array
        }
        let others: [Any] = [
            NSNull(), -1, 0, 1, 3, 1e300, -1e300, 0.5, 9_223_372_036_854_775_807, 4_294_967_296, "", "nan", "-inf", "x",
            true,
            [Any](), [String: Any](), [0, 1], [-1],
        ]
        return others[below(others.count)]
    }
}

extension Array {
    fileprivate subscript(checked index: Int) -> Element? { indices.contains(index) ? self[index] : nil }
}
