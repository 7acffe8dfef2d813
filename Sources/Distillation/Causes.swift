import Kernels
import LinearAlgebra
import TensorFiles

/// All that a result depends on, by name. What is gone on with must have the same.
struct Causes: Codable, Equatable {
    /// "plan.k": "64", "hashes.model": "9f…"
    let values: [String: String]

    init(_ values: [String: String]) { self.values = values }

    /// Every value of a record, by its path.
    init(of record: some Encodable) throws {
        var values: [String: String] = [:]
        Self.add(try JSONValue(parsing: JSONRecord.text(record)), at: "", to: &values)
        self.values = values
    }

    private static func add(_ value: JSONValue, at path: String, to values: inout [String: String]) {
        func place(_ name: String) -> String { path.isEmpty ? name : path + "." + name }
        switch value {
        case .object(let members): for (name, member) in members { add(member, at: place(name), to: &values) }
        case .array(let members):
            for (i, member) in members.enumerated() { add(member, at: place("\(i)"), to: &values) }
        default: values[path] = value.string ?? value.shown
        }
    }

    /// What of the machine the bits of results depend on.
    static var machine: [String: String] {
        [
            "BLAS core": BLAS.core, "kernel level": "\(ProcessorLevel.chosen.rawValue)",
            "lanes": "\(Lanes.shared.count)",
        ]
    }

    /// The names of those, and of what devices say of themselves, here and in records; not the precision of products, which is asked for.
    static let machineNames: Set = {
        let devices = ["device", "driver", "kernel compiler", "ranks"]
        return Set(Self.machine.keys).union(devices).union(
            devices.flatMap { ["settings.\($0)", "the device's \($0)"] })
    }()

    /// These and others.
    func with(_ others: [String: String]) -> Causes { Causes(values.merging(others) { $1 }) }

    /// The first name, in alphabetical order, of which the value is another in `earlier`.
    func difference(from earlier: Causes, except: Set<String> = []) -> (name: String, was: String, now: String)? {
        let names = Set(values.keys).union(earlier.values.keys).subtracting(except).sorted()
        guard let name = names.first(where: { values[$0] != earlier.values[$0] }) else { return nil }
        return (name, earlier.values[name] ?? "unset", values[name] ?? "unset")
    }
}
