import LinearAlgebra

/// A safetensors file of F32 matrices written row by row, for data that does not fit in memory.
///
/// The sizes are known at the start, so the header comes first and every row goes straight to its place. Dropped
/// before `finish()`, it leaves nothing.
public final class SafetensorsStream {
    /// One matrix of the file.
    public struct Plan: Sendable {
        /// The tensor's name.
        public let name: String
        /// Number of rows that will be appended.
        public let rows: Int
        /// Number of columns.
        public let columns: Int

        /// A matrix `[rows, columns]`.
        public init(name: String, rows: Int, columns: Int) {
            self.name = name
            self.rows = rows
            self.columns = columns
        }
    }

    private let path: String
    private let plans: [String: Plan]
    private let offsets: [String: Int]
    private var written: [String: Int]
    private let file: AtomicFile

    /// Opens the file and writes the header. Throws `TensorFileError`, also for a matrix too large for a file.
    public init(path: String, _ plans: [Plan], metadata: [String: String] = [:]) throws {
        for plan in plans {
            guard TensorDescription.byteCount(of: .f32, shape: [plan.rows, plan.columns]) != nil else {
                throw TensorFileError.unusable(
                    file: path, what: "\(plan.name) of \(plan.rows) × \(plan.columns) numbers is too large for a file",
                    next: "ask for fewer rows")
            }
        }
        let descriptions = plans.map {
            TensorDescription(name: $0.name, type: .f32, shape: [$0.rows, $0.columns])
        }
        let (header, _, offsets) = SafetensorsHeader.layout(descriptions, metadata: metadata)
        self.path = path
        self.plans = Dictionary(uniqueKeysWithValues: plans.map { ($0.name, $0) })
        self.offsets = Dictionary(uniqueKeysWithValues: zip(plans.map(\.name), offsets))
        written = Dictionary(uniqueKeysWithValues: plans.map { ($0.name, 0) })
        file = try AtomicFile(path: path)
        try header.withUnsafeBytes { try file.write($0, at: 0) }
    }

    /// Rows of `name` appended so far.
    public func rowsWritten(to name: String) -> Int { written[name] ?? 0 }

    /// Appends `rows` rows of the matrix `name`, row-major. Throws `TensorFileError`, among others when more rows
    /// come than were announced.
    public func append(_ elements: UnsafePointer<Float>, rows: Int, to name: String) throws {
        guard let plan = plans[name], let done = written[name], let offset = offsets[name] else {
            preconditionFailure("\(path) was not opened with a matrix \(name)")
        }
        guard rows <= plan.rows - done else {
            throw TensorFileError.unusable(
                file: path, what: "\(done + rows) rows for \(name), which was announced with \(plan.rows)",
                next: "announce the rows that will come")
        }
        let rowSize = plan.columns * 4
        try file.write(UnsafeRawBufferPointer(start: elements, count: rows * rowSize), at: offset + done * rowSize)
        written[name] = done + rows
    }

    /// Appends all rows of a matrix.
    public func append(_ matrix: Matrix, to name: String) throws {
        precondition(matrix.columns == plans[name]?.columns, "\(matrix.columns) columns for \(name)")
        try append(matrix.elements, rows: matrix.rows, to: name)
    }

    /// Syncs the file and gives it its name. Throws when rows are missing.
    public func finish() throws {
        for (name, plan) in plans where written[name] != plan.rows {
            throw TensorFileError.unusable(
                file: path, what: "\(name) has \(written[name] ?? 0) of \(plan.rows) announced rows",
                next: "append the rest before finishing")
        }
        try file.commit()
    }
}
