/// A C struct in a plugin's memory, read with suspicion.
///
/// The headers declare its pointers as never null, so Swift's types for them cannot hold null: what a plugin left
/// empty must be found in the bytes, before any typed value is made of them.
package struct PluginTable {
    private let memory: UnsafeRawPointer
    private let name: String
    private let path: String

    /// A struct of type `name` in the plugin file `path`.
    package init(_ memory: UnsafeRawPointer, name: String, path: String) {
        self.memory = memory
        self.name = name
        self.path = path
    }

    /// A struct that may grow (DMSAE-GROWTH-02): whatever size from `smallest` up; what is missing reads as zero, what
    /// is beyond our own type is left alone. `struct_size` is at `sizeOffset`.
    package func growing<Struct>(
        _ type: Struct.Type, from smallest: UInt32, sizeOffset: Int = 0,
        notNull: [(field: String, path: PartialKeyPath<Struct>)]
    ) throws -> Struct {
        let size = memory.load(fromByteOffset: sizeOffset, as: UInt32.self)
        guard size >= smallest else {
            throw PluginABIError.wrongSize(path: path, structure: name, found: size, wanted: "at least \(smallest)")
        }
        try check(notNull)
        return withUnsafeTemporaryAllocation(
            byteCount: MemoryLayout<Struct>.size, alignment: MemoryLayout<Struct>.alignment
        ) { copy in
            copy.initializeMemory(as: UInt8.self, repeating: 0)
            copy.copyMemory(from: UnsafeRawBufferPointer(start: memory, count: min(Int(size), copy.count)))
            return copy.load(as: Struct.self)
        }
    }

    /// A frozen table (DMSAE-GROWTH-01): exactly our size.
    package func frozen<Struct>(
        _ type: Struct.Type, notNull: [(field: String, path: PartialKeyPath<Struct>)]
    ) throws -> Struct {
        let size = memory.load(as: UInt32.self), wanted = MemoryLayout<Struct>.size
        guard Int(size) == wanted else {
            throw PluginABIError.wrongSize(path: path, structure: name, found: size, wanted: "exactly \(wanted)")
        }
        try check(notNull)
        return memory.load(as: Struct.self)
    }

    private func check<Struct>(_ fields: [(field: String, path: PartialKeyPath<Struct>)]) throws {
        for (field, keyPath) in fields {
            guard let offset = MemoryLayout<Struct>.offset(of: keyPath) else {
                preconditionFailure("\(name).\(field) is not stored")
            }
            if memory.load(fromByteOffset: offset, as: UInt.self) == 0 {
                throw PluginABIError.nullInTable(path: path, table: name, field: field)
            }
        }
    }
}
